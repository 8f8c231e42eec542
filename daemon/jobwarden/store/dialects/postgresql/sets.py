"""How PostgreSQL reads a set: one JSON array parameter becomes a table of entries, its columns named by a layout.

Moments travel as integer microseconds; `MOMENT` and `microseconds` convert. `held` is how rows of several jobs are
locked: in the order of their ids, so that two transactions never wait for each other crosswise.
"""

from __future__ import annotations

from jobwarden.store import entries

MOMENT = "(timestamptz 'epoch' + {} * interval '1 microsecond')"

_TYPES = {
    "bigint": (
        "job_id fence ms id expires_at at started_at ended_at peak_rss_kb cpu_ms due_at next_attempt_at job_ended_at "
        "run_at timeout_ms heartbeat_timeout_ms"
    ),
    "integer": (
        "position worker_pid generation signal exit_code ready attempts crashes interruptions lost_in_row raised "
        "priority claim_rank max_attempts force_kill_on_timeout retry_backoff"
    ),
    "double precision": "percent retry_delay retry_delay_max",
}
_TYPE_OF = {name: kind for kind, names in _TYPES.items() for name in names.split()}
_MOMENTS = frozenset(
    {"expires_at", "at", "started_at", "ended_at", "due_at", "next_attempt_at", "job_ended_at", "run_at"}
)

NOW = MOMENT.format("CAST(:now AS bigint)")

RUNNING_HERE = "job.status || '' = 'processing' AND job.node_id IS NOT DISTINCT FROM CAST(:node_id AS text)"
"""Running under this node, said so that no index fits: a job is looked up by its id, never among all of the node."""

JOB_OF_E = "job.id = ANY (ARRAY[e.job_id])"
"""The job of an entry. Said with `=`, two tables could also be joined from the other end: a plan that was made while
`job` was empty would then read all of it. So can a sort by `job.id`; sort by `e.job_id`."""

FREED = "node_id = NULL, claim_batch = NULL, locked_at = NULL, locked_by = NULL"
"""What every way out of `processing` sets."""


IDS = "(SELECT CAST(value AS bigint) AS id FROM jsonb_array_elements_text(CAST(:ids AS jsonb)))"
"""A table of the numbers in the parameter `ids`."""


def microseconds(moment: str) -> str:
    """A moment as wall microseconds."""
    return f"CAST(extract(epoch FROM {moment}) * 1000000 AS bigint)"


def with_entries(layout: tuple[str, ...]) -> str:
    """The beginning of a WITH clause under which `e` is a table of the entries, its columns named by the layout."""
    fields = ", ".join(f"{_field(place, name)} AS {name}" for place, name in enumerate(layout))
    return f"WITH e AS MATERIALIZED (SELECT {fields} FROM jsonb_array_elements(CAST(:entries AS jsonb)) AS v)"


def _field(place: int, name: str) -> str:
    text = f"v ->> {place}"
    kind = _TYPE_OF.get(name)
    value = f"({text})" if kind is None else f"CAST({text} AS {kind})"
    return MOMENT.format(value) if name in _MOMENTS else value


WITH_ATTEMPTS = with_entries(entries.ATTEMPT)
