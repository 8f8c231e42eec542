"""The registry of templates and workers, where the kernel refuses or a process is already gone."""

from __future__ import annotations

import os
import selectors
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.jobs.claim import ClaimedJob
from jobwarden.settings import Settings
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.channel import Channel
from jobwarden.supervisor.killer import Killer
from jobwarden.supervisor.launcher import Launcher
from jobwarden.supervisor.mailbox import Mailbox
from jobwarden.supervisor.nursery import Nursery
from jobwarden.wire.page import PAGE_BYTES, SharedPage

JOB = ClaimedJob(1, 1, "any", "null", 1, 3, None, 0, 0.0, 0, None, 0, 0, 0)


class Ward:
    """A nursery of its own, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.facts: list[seen.Input] = []
        page = os.memfd_create("page", os.MFD_CLOEXEC)
        os.truncate(page, PAGE_BYTES)
        self.launcher = Launcher(Settings(handlers=folder, state_dir=folder.parent / "state"), node_id="n", page=page)
        killer = Killer(self.launcher, Mailbox(), clock=SYSTEM_CLOCK, stuck_ns=1)
        selector = selectors.DefaultSelector()
        self.nursery = Nursery(self.launcher, killer, selector, page=SharedPage(page), feed=self.facts.append)


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    """A nursery without any process."""
    made = Ward(tmp_path / "handlers")
    yield made
    for slot in list(made.nursery.channels):
        made.nursery.forget(slot)


def test_a_job_for_a_worker_that_was_reaped_is_not_sent(ward: Ward) -> None:
    """In one turn of the loop a claim may be answered before the death is told; the job must not be lost with it."""
    channel = ward.nursery.channels[1] = Channel(1, generation=1, tail_bytes=1)
    channel.reaped = True
    with pytest.raises(BlockingIOError):
        ward.nursery.send(1, JOB)
    assert channel.take_back() == ()


def test_a_template_that_cannot_be_started_is_a_failed_generation(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes are left after a fork bomb, for example: the supervisor lives on and tries again later."""
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    ward.nursery.start_template(1, restore=False)
    assert ward.facts == [seen.TemplateFailed(1, "its template was not started: No such file or directory")]
    assert ward.launcher.asked == ward.launcher.answered
