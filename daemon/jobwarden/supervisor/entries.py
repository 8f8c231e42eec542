"""What the ledger is asked to write: handed over by the loop at the end of a turn and by the renewal. Data only."""

from __future__ import annotations

import msgspec

from jobwarden.jobs.ending import Ending
from jobwarden.store.deaths import Dead
from jobwarden.store.work import GiveBack, ProgressNote, ProlongNote, Seen
from jobwarden.supervisor.effects import AskClaim


class Entries(msgspec.Struct, kw_only=True):
    """Parts of one or several transactions; any of them may be empty."""

    endings: list[Ending] = []
    progress: list[ProgressNote] = []
    prolongs: list[ProlongNote] = []
    give_backs: list[GiveBack] = []
    claims: dict[str, AskClaim] = {}
    """By pool. One of them goes into a transaction."""
    look: bool = False
    """Read wishes: somebody rang."""
    report: str | None = None
    types_published: str | None = None
    """A generation became current: the types that the node's row is to name."""
    secrets: tuple[tuple[str, str], ...] = ()
    """(job type, name) of secret fields, for those who look at jobs."""
    free_nodes: list[Dead] = []
    reconcile: bool = False
    rejoin: bool = False
    """The node's row is gone: join as a new one, after everything else here was written under the old name."""
    seen: Seen | None = None
    """What the latest renewal saw; nothing of it is to be written."""

    def absorb(self, other: Entries) -> None:
        """Take over what came later."""
        self.endings += other.endings
        self.progress += other.progress
        self.prolongs += other.prolongs
        self.give_backs += other.give_backs
        self.free_nodes += other.free_nodes
        self.claims |= other.claims
        self.look |= other.look
        self.report = other.report or self.report
        self.types_published = other.types_published or self.types_published
        self.secrets = other.secrets or self.secrets
        self.reconcile |= other.reconcile
        self.rejoin |= other.rejoin
        self.seen = other.seen or self.seen

    def shorten(self) -> None:
        """Of what has been overtaken keep the latest: while the store is away there may be four a second of each."""
        self.progress = list({(note.job_id, note.fence): note for note in self.progress}.values())
        self.prolongs = list({(note.job_id, note.fence): note for note in self.prolongs}.values())
        self.free_nodes = list(dict.fromkeys(self.free_nodes))

    def __len__(self) -> int:
        """The number of rows that a commit of these changes."""
        claimed = next(iter(self.claims.values())).limit if self.claims else 0
        return len(self.endings) + len(self.progress) + len(self.prolongs) + len(self.give_backs) + claimed

    @property
    def empty(self) -> bool:
        """Whether no transaction is needed."""
        told = self.report or self.types_published or self.secrets
        asked = self.look or self.free_nodes or self.reconcile or self.rejoin
        return not (len(self) or told or asked)
