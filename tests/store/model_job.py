"""What the model of the store (model.py) knows of one job, and of one limit."""

from __future__ import annotations

from dataclasses import dataclass, field

SECOND = 1_000_000
DAY = 86_400 * SECOND
FOREVER = 2**62
ENDED = ("completed", "failed", "cancelled")
WRAPPED = "dead"
"""The type of dead letters."""


@dataclass(eq=False)
class Job:
    """One job as it must be now."""

    id: int
    type: str
    run_at: int
    due: int = 0
    group: str | None = None
    priority: int = 0
    max_attempts: int | None = None
    retry_delay: float | None = None
    retry_backoff: bool = True
    tags: tuple[str, ...] = ()
    after_tags: tuple[str, ...] = ()
    parents: dict[int, str] = field(default_factory=dict)
    """Prerequisites that have not been settled, with what happens if they fail."""
    missed: dict[int, str] = field(default_factory=dict)
    """Prerequisites that failed after this job had ended itself: they count again when it is revived."""
    expires: int | None = None
    dead_letter: str | None = None
    status: str = "pending"
    passed_tags: bool = False
    attempts: int = 0
    crashes: int = 0
    interruptions: int = 0
    lost: int = 0
    quarantined: bool = False
    started: bool = False
    first: bool = False
    """The running attempt is the one that started it."""
    owner: str | None = None
    fence: int | None = None
    claimed: int = 0
    wished: bool = False
    ended_at: int | None = None
    lettered: bool = False
    letters: int = 0
    """Dead letters that it must have left and that nobody has seen yet."""
    events: list[str] = field(default_factory=lambda: ["added"])

    def __post_init__(self) -> None:
        """It is due when it was to run."""
        self.due = self.run_at

    @property
    def live(self) -> bool:
        """It has not ended."""
        return self.ended_at is None

    @property
    def free(self) -> bool:
        """Neither running nor ended."""
        return self.live and self.status != "processing"

    @property
    def gate(self) -> str | None:
        """What other than time and lanes it waits for."""
        if not self.free or self.passed_tags:
            return None
        return "parents" if self.parents else "tags"

    @property
    def order(self) -> tuple[int, int, int]:
        """Who goes first."""
        return -self.priority, self.due, self.id

    def expired(self, now: int) -> bool:
        """It was not started in time."""
        return self.free and not self.started and self.expires is not None and self.expires <= now


@dataclass
class Limit:
    """What an operator has set for a type or group."""

    running: int | None = None
    per_node: int | None = None
    rate: int | None = None
    window: int = 0


Lane = tuple[str, str]
"""(scope, name) of a limited type or group."""
