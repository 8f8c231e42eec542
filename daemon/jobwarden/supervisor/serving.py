"""What the keeper starts: `serve` makes a process fit to be the supervisor, lets `Service` run, and ends with its code.

Everything that belongs to the process and to no part of the supervisor stands here: parent, signals before the loop
has them, limits, the log, and what happens if a thread fails. Called by `__main__`, once.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import traceback
from functools import partial
from typing import TYPE_CHECKING

from jobwarden import events
from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.kernel import adopt_orphans, die_with_parent, hide_memory
from jobwarden.settings import load_settings
from jobwarden.supervisor import keeper
from jobwarden.supervisor.answer import Answer
from jobwarden.supervisor.handover import receive
from jobwarden.supervisor.log import LogLines
from jobwarden.supervisor.log_stream import LogStream
from jobwarden.supervisor.loop import EXIT_KEEPER_LOST
from jobwarden.supervisor.redaction import Redaction
from jobwarden.supervisor.service import Service
from jobwarden.supervisor.signals import KEEPER_LOST
from jobwarden.supervisor.systemd import Notifier

if TYPE_CHECKING:
    from types import FrameType

EXIT_BROKEN = 70
_SWITCH_SECONDS = 0.0002
"""Longer switch intervals starve the ledger beside a busy loop (R17)."""
_LAST_LINES_SECONDS = 2.0


def serve(descriptor: int) -> int:
    """Run the supervisor until it is told to leave; returns its exit code."""
    handover = receive(descriptor)
    answer = None if handover.errand is None else Answer()
    notifier = Notifier(handover.notify)
    _leave_at_once_on_signals(answer, notifier)
    die_with_parent(KEEPER_LOST)
    if os.getppid() != handover.keeper_pid:
        return EXIT_KEEPER_LOST
    adopt_orphans()
    hide_memory()
    sys.setswitchinterval(_SWITCH_SECONDS)
    _raise_descriptor_limit()
    settings = load_settings(config=handover.config_path, flags=handover.flags)
    (log := LogStream(sys.stderr)).start()
    redaction = Redaction(settings)
    events.listen(redaction.listener(lines := LogLines(settings, clock=SYSTEM_CLOCK, stream=log)))
    threading.excepthook = partial(_die_of, log)
    try:
        service = Service(settings, handover, lines=lines, redaction=redaction, notifier=notifier)
        code = service.run()
    finally:
        log.finish(seconds=_LAST_LINES_SECONDS)
    return code if answer is None else answer.tell(service.pools.errand, code=code)


def _leave_at_once_on_signals(answer: Answer | None, notifier: Notifier) -> None:
    """Until the loop takes them: nothing runs yet, so there is nothing to drain. The keeper has blocked them so far."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        notifier.tell("STOPPING=1")
        os._exit(0 if answer is None else answer.tell(None, code=0))

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, keeper.PASSED_ON)


def _die_of(log: LogStream, failure: threading.ExceptHookArgs) -> None:
    """A thread that failed unexpectedly takes the supervisor with it: half a supervisor would lose jobs silently.

    The keeper cleans up, a service manager starts a new one, and that one frees the jobs.
    """
    name = failure.thread.name if failure.thread else "?"
    text = "".join(traceback.format_exception(failure.exc_type, failure.exc_value, failure.exc_traceback))
    events.emit(events.Alerted(text=f"the {name} thread failed, the supervisor ends: {text}"))
    log.finish(seconds=_LAST_LINES_SECONDS)
    os._exit(EXIT_BROKEN)


def _raise_descriptor_limit() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
