"""`jobwarden explain`: why a job is not running, and when it may."""

from __future__ import annotations

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, JobId, open_client
from jobwarden.cli.printing import moment, print_json, printable


def explain_command(
    job_id: JobId, *, as_json: AsJson = False, database_url: DatabaseUrl = None, config: Config = None
) -> None:
    """Tell why a job is not running.

    And the next moment at which it may.
    """
    with open_client(database_url, config) as client:
        explanation = client.explain(job_id)
    if as_json:
        print_json(explanation.model_dump(by_alias=True, mode="json"))
        return
    print(f"job {job_id} is {explanation.status}")
    for reason in explanation.reasons:
        print(printable(f"  {reason.text}"))
    if explanation.next_at is not None:
        print(f"next at {moment(explanation.next_at)}")
