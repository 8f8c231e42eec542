"""A slot: the pool's record of one worker, from the wish to fork it until nothing of its tree is left. Pure."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING

from jobwarden.errors import JobwardenError
from jobwarden.jobs.outcome import Outcome

if TYPE_CHECKING:
    from jobwarden.jobs.claim import ClaimedJob
    from jobwarden.supervisor.inputs import Died
    from jobwarden.wire.messages import Done


class SlotState(StrEnum):
    """Where a slot's worker is in its life."""

    SPAWNING = "spawning"
    READY = "ready"
    STOPPING = "stopping"
    """A soft stop was sent; it gets no further job and is replaced afterwards."""
    RETIRING = "retiring"
    """It is not needed any more, had no job, and was left the time to call its hooks."""
    KILLING = "killing"
    """The kill of its tree was ordered."""
    CLEARING = "clearing"
    """The worker is reaped; its descendants are being removed."""
    GONE = "gone"


MOVES = {
    SlotState.SPAWNING: {SlotState.READY, SlotState.KILLING, SlotState.CLEARING, SlotState.GONE},
    SlotState.READY: {SlotState.STOPPING, SlotState.RETIRING, SlotState.KILLING, SlotState.CLEARING},
    SlotState.STOPPING: {SlotState.KILLING, SlotState.CLEARING},
    SlotState.RETIRING: {SlotState.KILLING, SlotState.CLEARING},
    SlotState.KILLING: {SlotState.CLEARING},
    SlotState.CLEARING: {SlotState.GONE},
    SlotState.GONE: set[SlotState](),
}


UNWORN = 2**62
"""More jobs than any worker will see."""


class IllegalMoveError(JobwardenError):
    """A slot was asked to move where its state does not lead; nothing was changed."""

    def __init__(self, slot: int, origin: SlotState, target: SlotState) -> None:
        """Name the slot and both states."""
        self.origin = origin
        self.target = target
        super().__init__(f"slot {slot} cannot go from {origin} to {target}")


class Use:
    """What a worker and its running attempt have used of the machine."""

    __slots__ = ("born_kb", "cpu_from", "helpers", "left_kb", "spent")

    def __init__(self) -> None:
        """Nothing yet."""
        self.born_kb = self.left_kb = 0
        """Memory of the worker at its birth, and what its jobs have left on top of that; 0 where nobody measures."""
        self.helpers = 0
        """Processes that its hooks have started: not a job's."""
        self.cpu_from: tuple[tuple[int, int], int] | None = None
        """The attempt that was measured last, and the CPU time (ms) of its tree at the first look."""
        self.spent = False
        """The running attempt is to end because of what it uses; `Slot.told` says what that is."""


class Slot:
    """One worker and the jobs that were sent to it; the first of `in_flight` is the running one."""

    __slots__ = (
        "born",
        "captured",
        "ceiling_ms",
        "died",
        "done",
        "final",
        "forgotten",
        "generation",
        "head_since_ns",
        "id",
        "in_flight",
        "kill_due_ns",
        "limit_ns",
        "may_take",
        "pid",
        "progress",
        "progress_ns",
        "prolonged",
        "prolonged_noted_ns",
        "scout",
        "served",
        "sign_ns",
        "stalled_ns",
        "state",
        "stuck",
        "takes_leave",
        "told",
        "until_ns",
        "use",
        "why",
        "why_of",
    )

    def __init__(self, slot_id: int, *, generation: int, now_ns: int) -> None:
        """A slot whose worker was just asked for."""
        self.id = slot_id
        self.generation = generation
        self.state = SlotState.SPAWNING
        self.pid: int | None = None
        self.born = self.served = False
        """Whether the worker ever reported a job; one that never did is respawned more slowly."""
        self.in_flight: deque[ClaimedJob] = deque()
        self.head_since_ns = now_ns
        self.until_ns: int | None = None
        """The one deadline in force: birth, job, or end of the grace."""
        self.why: Outcome | None = None
        """The outcome that the pool has decided for the running attempt, if any."""
        self.why_of: tuple[int, int] | None = None
        """The attempt about which it was decided: a kill addresses an attempt, not a process (R9)."""
        self.told: str | None = None
        """The words of whoever asked for the end of the running attempt, if somebody did."""
        self.limit_ns: int | None = None
        """When the running attempt has passed its limit; `prolonged` if the attempt itself has moved that moment."""
        self.ceiling_ms: int | None = None
        """How long the running attempt may take at most, from `head_since_ns` on: no prolong moves that."""
        self.prolonged = False
        self.prolonged_noted_ns = self.progress_ns = 0
        self.sign_ns = now_ns
        """The last sign of life of the running attempt: its start, a heartbeat, progress or a prolong."""
        self.stalled_ns = 0
        """The end of the silence for which the running attempt is stopped; 0 if it is not stopped for that."""
        self.final = self.forgotten = False
        """The running attempt is to end whatever its limit (it was cancelled or interrupted, no prolong helps); it
        belongs to somebody else: nothing is recorded about it."""
        self.kill_due_ns = 0
        """When its tree should be dead after a timeout: deadline + grace."""
        self.done: Done | None = None
        """The worker's report about the running attempt while its tree still has to go."""
        self.captured: str | None = None
        self.died: Died | None = None
        self.stuck = self.takes_leave = self.scout = False
        """The others: it has hooks to call before it ends, if there is time; it is to prove code not yet served."""
        self.may_take = UNWORN  # further jobs; with none left it is worn
        self.use = Use()
        self.progress: float | None = None

    def move(self, target: SlotState) -> None:
        """Go to the next state, or raise IllegalMoveError and change nothing."""
        if target not in MOVES[self.state]:
            raise IllegalMoveError(self.id, self.state, target)
        self.state = target

    def absolve_successor_of(self, job: ClaimedJob) -> None:
        """A decision was meant for the job that has just ended; what runs now is its innocent successor (R9)."""
        if self.why is not None and self.why_of == job.attempt:
            self.why = Outcome.INTERRUPTED if self.state is SlotState.KILLING else None
            self.why_of = self.in_flight[0].attempt if self.in_flight else None
            self.kill_due_ns = 0

    @property
    def head(self) -> ClaimedJob | None:
        """The job that the worker runs or is about to take."""
        return self.in_flight[0] if self.in_flight else None

    @property
    def worn(self) -> bool:
        """Whether it has served for long enough."""
        return self.may_take <= 0

    @property
    def idle(self) -> bool:
        """Ready for a job, with none."""
        return self.state is SlotState.READY and not self.in_flight

    @property
    def lives(self) -> bool:
        """Whether a worker may be alive in it that has not been told to go."""
        return self.state in {SlotState.SPAWNING, SlotState.READY}
