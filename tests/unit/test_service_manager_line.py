"""The line to a service manager: who opens one, and what happens on it while nobody listens."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.supervisor.systemd import Line, open_line, watchdog_usec
from tests.support.service_manager import Line as Played
from tests.support.service_manager import Listener


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(tmp_path / "notify")
    yield made
    made.close()


def close(line: Line | None) -> None:
    """Give its descriptors back."""
    for descriptor in line or ():
        os.close(descriptor)


def test_it_leads_to_the_socket_that_the_environment_names(listener: Listener) -> None:
    """A path, whose descriptor survives exec: the keeper needs no address."""
    line = open_line({"NOTIFY_SOCKET": listener.address})
    assert line is not None
    assert all(os.get_inheritable(each) for each in line)
    os.write(line.outside, b"READY=1\nSTATUS=x")
    assert listener.receive() == ["READY=1", "STATUS=x"]
    os.write(line.supervisor, b"one")
    os.write(line.supervisor, b"two")
    assert [os.read(line.keeper, 100), os.read(line.keeper, 100)] == [b"one", b"two"]
    close(line)


def test_an_abstract_address_is_one_that_begins_with_an_at_sign() -> None:
    """sd_notify(3)."""
    listener = Listener(f"@jobwarden-{secrets.token_hex(8)}")
    line = open_line({"NOTIFY_SOCKET": listener.address})
    assert line is not None
    os.write(line.outside, b"READY=1")
    assert listener.receive() == ["READY=1"]
    close(line)
    listener.close()


@pytest.mark.parametrize("address", [None, "", "relative", "vsock:2:1", "/nobody/listens/there"])
def test_without_an_address_at_which_somebody_listens_there_is_no_line(address: str | None) -> None:
    """A start never fails for want of a listener."""
    assert open_line({} if address is None else {"NOTIFY_SOCKET": address}) is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3_000_000),
        ({"WATCHDOG_USEC": "3000000"}, 3_000_000),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
        ({}, None),
    ],
)
def test_a_watchdog_counts_if_it_is_meant_for_this_process(environment: dict[str, str], expected: int | None) -> None:
    """sd_watchdog_enabled(3): a variable that somebody inherited is no watchdog of ours."""
    assert watchdog_usec(environment) == expected


def test_what_cannot_be_sent_now_is_sent_later_and_in_order() -> None:
    """READY=1 behind a keeper that is stopped must not be lost; nobody waits for it."""
    played = Played()
    big = "x" * 60_000
    for number in range(10):
        played.notifier.tell(f"{number}{big}")
    said = played.said()
    assert 0 < len(said) < 10
    while len(said) < 10:
        played.notifier.flush()
        said += played.said()
    assert [message[0][0] for message in said] == list("0123456789")
    played.close()


def test_a_keeper_that_is_gone_disturbs_nobody() -> None:
    """The supervisor has other ways to learn of it."""
    played = Played()
    played._ours.close()  # noqa: SLF001 - the keeper's end
    played.notifier.tell("STATUS=alone")
    played.notifier.flush()
    played.notifier.close()
