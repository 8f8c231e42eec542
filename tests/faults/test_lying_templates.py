"""P5, P6: the code of a handler file may write on its template's socket; nobody but that code comes to harm."""

from __future__ import annotations

from tests.support.daemon import Daemon
from tests.support.site import Site
from tests.support.waiting import eventually

LIAR = """
import os, socket
from jobwarden.wire.frames import frame
from jobwarden.wire.messages import Forked, ForkFailed, Importing, encode

to_supervisor = socket.socket(fileno=os.dup(3))
def say(message, *descriptors):
    socket.send_fds(to_supervisor, [frame(encode(message))], descriptors)
"""
LIES = {
    "of slot 9999": "say(Forked(slot=9_999, pid=os.getpid()))",
    "of slot 1": "say(ForkFailed(slot=1, error='no'))",
    "of slot 2": "say(Forked(slot=2, pid=1), os.open('/dev/null', os.O_RDONLY))",
}
MANY = "for _ in range(100): say(Importing(file='liar.py'), *[3] * 8)\nos._exit(1)"
GOOD = "from jobwarden import handler\n@handler('good')\ndef good(payload): return 'well'\n"


def test_a_file_that_writes_in_its_templates_name_ends_its_own_load_only(site: Site) -> None:
    """Births that nobody asked for, a living worker called unborn, descriptors: all others serve on."""
    handlers = site.folder / "handlers"
    handlers.mkdir()
    (handlers / "good.py").write_text(GOOD)
    daemon = site.start(handlers=handlers)
    workers, supervisor = daemon.workers, daemon.supervisor
    before = daemon.descriptor_count()

    for count, (told, lie) in enumerate(LIES.items(), start=1):
        (handlers / "liar.py").write_text(f"{LIAR}{lie}\nto_supervisor.recv(1)\n")
        assert told in await_refusals(daemon, count)[-1]
    (handlers / "liar.py").write_text(f"{LIAR}{MANY}\n")
    await_refusals(daemon, 4)

    assert site.await_end(site.client.add_job("good", {})).output == "well"
    assert (daemon.supervisor, daemon.await_workers(2)) == (supervisor, workers)
    assert daemon.descriptor_count() < before + 20


def await_refusals(daemon: Daemon, count: int) -> list[str]:
    """What was said of the generations that are not served, once they are so many."""

    def refusals() -> list[str] | None:
        found = [str(each["text"]) for each in daemon.events("alerted") if "is not served" in each["text"]]
        return found if len(found) >= count else None

    return eventually(refusals, what=f"{count} refused generations")
