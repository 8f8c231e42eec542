"""`jobwarden counts`: how many jobs there are of each type and status."""

from __future__ import annotations

from jobwarden.cli.places import AsJson, Config, DatabaseUrl, open_client
from jobwarden.cli.printing import print_json, screen, table


def counts_command(*, as_json: AsJson = False, database_url: DatabaseUrl = None, config: Config = None) -> None:
    """Count jobs by type and status."""
    with open_client(database_url, config) as client:
        counts = client.counts()
    if as_json:
        print_json({"counts": counts})
        return
    from jobwarden.jobs import JobStatus
    from jobwarden.jobs.filter import RETRYING

    shown = [each for each in (*JobStatus, RETRYING) if any(each in row for row in counts.values())]
    rows = [(job_type, *(row.get(each, 0) for each in shown)) for job_type, row in counts.items()]
    screen().print(table(("type", *shown), rows))
