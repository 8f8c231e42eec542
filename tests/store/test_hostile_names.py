"""Names that jobs bring (types, tags, keys, groups, reasons) are data in every statement, whatever they look like."""

from __future__ import annotations

from jobwarden.jobs import JobChanges, JobFilter, JobStatus, Outcome

from .scene import Scene

HOSTILE = [
    "'; DROP TABLE job; --",
    '"); DELETE FROM job; --',
    "' OR '1'='1",
    "\\'; TRUNCATE job; #",
    "%(name)s %s :name :now_us ? $1 {name} {0}",
    "$$; DROP TABLE job; $$",
    "../../../../etc/passwd",
    "/dev/null",
    "%",
    "_",
    "*/ DELETE FROM job /*",
    '[{"job_type": "work"}]',
    "\x1b[2J\r\nforged",
    "null",
    "🙂\u202e\ufffd",
]


def test_a_name_is_never_a_part_of_a_statement_nor_a_pattern(scene: Scene) -> None:
    """It names its own job in every verb, and no other; a job beside it, with another name, keeps all it has."""
    bystander = scene.add("work", tags=["work"], idempotency_key="work", group_id="work")
    for name in HOSTILE:
        _add_and_find(scene, name)
    untouched = scene.get(bystander)
    assert (untouched.status, untouched.priority, untouched.tags) == (JobStatus.PENDING, 0, ["work"])
    assert scene.store.counts()["work"]["pending"] == 1


def _add_and_find(scene: Scene, name: str) -> None:
    options = {"tags": [name, "both"], "idempotency_key": name, "group_id": name, "metadata": {name: name}}
    job_id = scene.add(name, payload={name: name}, max_attempts=2, dead_letter_job_type=name, **options)
    assert scene.add(name, payload={name: name}, max_attempts=2, dead_letter_job_type=name, **options) == job_id
    record = scene.get(job_id)
    assert (record.job_type, record.tags, record.idempotency_key, record.group_id, record.metadata) == (
        name,
        [name, "both"],
        name,
        name,
        {name: name},
    )
    for wanted in (JobFilter(job_type=[name]), JobFilter(tags=[name]), JobFilter(group_id=name)):
        assert [each.id for each in scene.store.bulk.find(wanted, limit=10).jobs] == [job_id], wanted
        assert scene.store.bulk.count(wanted) == 1
    _control_and_edit(scene, name, job_id)
    _run_and_fail(scene, name, job_id)


def _control_and_edit(scene: Scene, name: str, job_id: int) -> None:
    now_us = scene.now_us
    scene.store.bulk.edit_all(JobFilter(job_type=[name]), JobChanges(priority=3, tags=[name]), now_us=now_us)
    assert scene.get(job_id).priority == 3
    scene.store.controls.pause(name, now_us=now_us, reason=name)
    assert scene.claim(types=(name,)) == []
    assert scene.store.controls.explain(job_id, now_us=now_us) is not None
    assert scene.store.controls.resume(name, now_us=now_us)
    scene.store.controls.set_limit("type", name, max_running=1, now_us=now_us)
    assert {each.name for each in scene.store.controls.list()} >= {name}
    scene.store.controls.clear_limits("type", name, now_us=now_us)


def _run_and_fail(scene: Scene, name: str, job_id: int) -> None:
    (job,) = scene.claim(types=(name,))
    assert job.job_type == name
    scene.end(job, Outcome.FAILED, error=name, permanent=True)
    record = scene.get(job_id)
    assert (record.status, record.error_history[-1].message) == (JobStatus.FAILED, name)
    letters = scene.store.find(job_type=name, status="pending")
    assert [each.id for each in letters] == [record.dead_letter_job_id]
    scene.store.bulk.cancel_all(JobFilter(job_type=[name]), now_us=scene.now_us, reason=name)
    assert scene.store.counts()[name] == {"failed": 1, "cancelled": 1}
