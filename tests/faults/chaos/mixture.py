"""The jobs of a chaos run: what is added, in batches, by chance and by seed. Pure; called by the adder.

Every job has an idempotency key, so that a batch whose commit is unknown can be added again as it is. The options leave
room for many faults (many attempts, short delays), except where a job is meant to have but one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from jobwarden.jobs import JobOptions

GROUPS = {"narrow": 1, "wide": 3}
"""Each group and how many of its jobs may run at once, over all daemons."""

PATIENT: dict[str, Any] = {"max_attempts": 12, "retry_delay": 0.2, "retry_delay_max": 1.0}
"""For jobs that shall end well however often they are hit."""


class Mixture:
    """Draws batches of jobs. `place` is the folder of journal and locks."""

    def __init__(self, random_: random.Random, *, place: str) -> None:
        self._random = random_
        self._place = place
        self._number = 0

    def batch(self, accepted: list[int]) -> list[JobOptions]:
        """One to fifty jobs; some wait for others of the batch, or for some that were `accepted` before."""
        size = self._random.choices((1, self._random.randint(2, 20), 50), (60, 30, 10))[0]
        return [self._job(index, accepted) for index in range(size)]

    def _job(self, index: int, accepted: list[int]) -> JobOptions:
        self._number += 1
        draw = self._random.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
        fields = draw(self._random)
        payload = {"place": self._place, **fields.pop("payload")}
        more: dict[str, Any] = {}
        if accepted and self._random.random() < 0.05:
            more["depends_on"] = {"job_ids": [self._prerequisite(self._random.choice(accepted))]}
        elif index and self._random.random() < 0.1:
            more["depends_on"] = {"job_ids": [self._prerequisite(-self._random.randint(1, index))]}
        elif self._random.random() < 0.03:
            tag = f"tag {self._random.randint(1, 5)}"
            more |= {"tags": [tag], "depends_on": {"tags": [tag]}}
        return JobOptions.parse(
            payload=payload,
            idempotency_key=f"adder {self._number}",
            priority=self._random.choice((0, 0, 0, 5)),
            **fields,
            **more,
        )

    def _prerequisite(self, job_id: int) -> dict[str, object]:
        return {"id": job_id, "on_parent_failure": self._random.choice(("cancel", "run", "fail"))}


def _quick(random_: random.Random) -> dict[str, Any]:
    return {"job_type": "chaos_quick", "payload": {"ms": random_.choice((0, 0, 5))}, **PATIENT}


def _nap(random_: random.Random) -> dict[str, Any]:
    return {"job_type": "chaos_nap", "payload": {"ms": random_.randint(100, 2_000)}, **PATIENT}


def _long(random_: random.Random) -> dict[str, Any]:
    """Longer than the lease: only such a job meets its own next attempt when a daemon that is cut off lets it run."""
    return {"job_type": "chaos_nap", "payload": {"ms": random_.randint(4_000, 8_000)}, **PATIENT}


def _once(random_: random.Random) -> dict[str, Any]:
    return {"job_type": "chaos_once", "payload": {"ms": random_.randint(0, 500)}, "max_attempts": 1}


def _stubborn(random_: random.Random) -> dict[str, Any]:
    return {"job_type": "chaos_stubborn", "payload": {"ms": 0, "bad": random_.randint(1, 3)}, **PATIENT}


def _hopeless(random_: random.Random) -> dict[str, Any]:
    letter = {"dead_letter_job_type": "chaos_letter"} if random_.random() < 0.5 else {}
    attempts = random_.randint(1, 3)
    payload = {"ms": 0, "bad": 1_000_000}
    return {"job_type": "chaos_hopeless", "payload": payload, **letter, **PATIENT, "max_attempts": attempts}


def _overtime(random_: random.Random) -> dict[str, Any]:
    payload = {"ms": 0, "bad": random_.choice((1, 1_000_000))}
    forced = {"force_kill_on_timeout": random_.random() < 0.5}
    timed = {"timeout_ms": random_.randint(100, 600), "max_attempts": 3, "retry_delay": 0.2}
    return {"job_type": "chaos_overtime", "payload": payload, **timed, **forced}


def _crash(random_: random.Random) -> dict[str, Any]:
    payload = {"ms": 0, "bad": random_.choice((1, 1, 2, 1_000_000))}
    return {"job_type": "chaos_crash", "payload": payload, **PATIENT}


def _family(random_: random.Random) -> dict[str, Any]:
    payload = {"ms": random_.randint(50, 500), "bad": random_.choice((0, 1))}
    return {"job_type": "chaos_family", "payload": payload, **PATIENT}


def _parent(random_: random.Random) -> dict[str, Any]:
    return {"job_type": "chaos_parent", "payload": {"ms": random_.choice((0, 20))}, **PATIENT}


def _group(random_: random.Random) -> dict[str, Any]:
    name, limit = random_.choice(list(GROUPS.items()))
    payload = {"ms": random_.randint(0, 100), "group": name, "limit": limit}
    return {"job_type": "chaos_group", "payload": payload, "group_id": name, **PATIENT}


KINDS: list[tuple[Callable[[random.Random], dict[str, Any]], float]] = [
    (_quick, 62),
    (_nap, 9),
    (_long, 1),
    (_once, 5),
    (_stubborn, 5),
    (_hopeless, 3),
    (_overtime, 2),
    (_crash, 2),
    (_family, 5),
    (_parent, 3),
    (_group, 5),
]
"""Each kind and its weight."""
