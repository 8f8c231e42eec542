"""Secrets are planted wherever a daemon meets them; then all that it writes, shows and lets others read is searched.

The daemon runs as a user of its own without any right, and so do its handlers: what they may read of the processes is
what every handler without run-as may. A tap in the supervisor notes what passes between the processes.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, make_url, select, table, text

from jobwarden.cli.entry import enter
from jobwarden.cli.places import URL_VARIABLE
from tests.support.daemon import clean_environment
from tests.support.postgresql import PostgreSQL
from tests.support.processes import descendants, subreaper
from tests.support.site import Site
from tests.support.strangers import Stranger, stranger
from tests.support.waiting import eventually

TAP = """
import sys
if "jobwarden.supervisor" in sys.orig_argv:
    from jobwarden.wire import frames, messages
    encode, feed = messages.encode, frames.FrameReader.feed
    tap = open("/proc/self/cwd/tap", "ab", buffering=0)
    def noted(message):
        data = encode(message)
        tap.write(type(message).__name__.encode() + b" " + data + b"\\n\\n")
        return data
    def fed(reader, data):
        found = feed(reader, data)
        for each in found:
            tap.write((b"Done " if b"Done" in each[:8] else b"") + each + b"\\n\\n")
        return found
    messages.encode, frames.FrameReader.feed = noted, fed
"""
HANDLERS = """
import os, signal
from pathlib import Path
from pydantic import BaseModel, SecretStr
from jobwarden import handler, on_worker_start

@on_worker_start
def begin():
    print("a hook has sk_live_" + "MIRRORED"[::-1])

class Login(BaseModel):
    pin: SecretStr
    number: int = 0

@handler("declared", secret="password", max_attempts=1)
def declared(payload: dict):
    print("the password is", payload["password"])
    raise ValueError(f"wrong password {payload['password']!r}")

@handler("typed", max_attempts=1)
def typed(payload: Login):
    print(payload.pin.get_secret_value(), payload)
    return {"pin": payload.pin.get_secret_value()}

@handler("named", max_attempts=1)
def named(payload: dict):
    os.write(1, payload["token"].encode())
    return payload

@handler("patterned", max_attempts=1)
def patterned(payload: dict):
    print("key sk_live_" + payload["tail"])
    raise RuntimeError("key sk_live_" + payload["tail"])

@handler("stuck", timeout_ms=100, max_attempts=1)
def stuck(payload: dict):
    name, found = "sk_live_" + payload["mirrored"][::-1], {"signal": signal}
    print("began", name, flush=True)
    exec(f"def {name}():\\n while True:\\n  try: signal.pause()\\n  except BaseException: pass", found)
    found[name]()

@handler("spy")
def spy(payload: dict):
    wanted = [each[::-1].encode() for each in payload["mirrored"]]
    readable, heap = [], {}
    with open(payload["place"], "wb") as out:
        for pid in payload["pids"]:
            for name in ("environ", "cmdline", "comm", "status", "maps"):
                try:
                    out.write(Path(f"/proc/{pid}/{name}").read_bytes())
                except OSError:
                    continue
                if name == "environ":
                    readable.append(pid)
            try:
                for each in Path(f"/proc/{pid}/fd").iterdir():
                    target = os.readlink(each)
                    out.write(target.encode())
                    if "memfd" in target:
                        out.write(each.read_bytes())
                heap[pid] = [number for number, each in enumerate(wanted) if each in memory(pid)]
            except OSError:
                continue
    return {"readable": readable, "heap": heap}

def memory(pid):
    pieces = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            place, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, end = (int(each, 16) for each in place.split("-"))
                try:
                    mem.seek(start)
                    pieces.append(mem.read(end - start))
                except (OSError, ValueError, OverflowError):
                    pass
    return b"".join(pieces)
"""
OF_THE_DAEMON = ("url password", "credential", "environment")
"""Secrets that no handler may see."""
OF_THE_CODE = "load"
"""It stands in a handler file: whoever reads the code reads it."""


class Stage:
    """Two daemons, the secrets, and what has been collected."""

    def __init__(self, somebody: Stranger, server: PostgreSQL) -> None:
        names = (*OF_THE_DAEMON, "declared", "typed", "named", "metadata", "invalid", "refused", OF_THE_CODE)
        self.canaries = {name: f"canary{secrets.token_hex(8)}" for name in (*names, "patterned", "stuck", "letter")}
        self.canaries["url password"] = server.password
        for name in ("patterned", "stuck"):
            self.canaries[name] = secrets.token_hex(8)
        self.found: dict[str, str] = {}
        self.folder = somebody.folder
        self._user = pwd.getpwnam(somebody.user)
        server.execute(f"CREATE ROLE other SUPERUSER LOGIN PASSWORD '{self.canaries['credential']}'")
        self.url = server.new_database(tcp=True)
        self._python = somebody.python
        self._prepare()
        self.site = Site(self.folder, url=self.url)

    def _prepare(self) -> None:
        (self.folder / "tapped").mkdir()
        (self.folder / "tapped" / "sitecustomize.py").write_text(TAP)
        (self.folder / "tap").touch()
        (self.folder / "code").mkdir()
        (self.folder / "code" / "canaries.py").write_text(
            HANDLERS.replace("MIRRORED", self.canaries[OF_THE_CODE][::-1])
        )
        (self.folder / "code" / "broken.py").write_text(
            f"raise RuntimeError('no access with sk_live_{self.canaries[OF_THE_CODE]}')\n"
        )
        for name in ("one", "two", "credentials"):
            (self.folder / name).mkdir(mode=0o700)
        credential = self.url.replace(f"postgres:{self.canaries['url password']}@", "other@")
        (self.folder / "credentials" / "database_url").write_text(credential)
        (self.folder / "credentials" / "database_password").write_text(self.canaries["credential"])
        for each in (*map(self.folder.joinpath, ("one", "two", "credentials", "tap")), *self._credentials()):
            os.chown(each, self._user.pw_uid, self._user.pw_gid)

    def _credentials(self) -> Iterator[Path]:
        return (self.folder / "credentials").iterdir()

    def start(self) -> None:
        """One with the URL in its environment, one with systemd's credentials; both on the same database."""
        to_user = ["setpriv", f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]
        python = ["sh", "-c", 'shift; exec "$0" "$@"', str(self._python)]
        path = os.pathsep.join([str(self.folder / "tapped"), clean_environment()["PYTHONPATH"]])
        secret = [f"PYTHONPATH={path}", f"SECRET_OF_THE_SERVICE={self.canaries['environment']}"]
        begin = partial(
            self.site.start, handlers=self.folder / "code", workers=1, secret_fields="token", redact="sk_live_[0-9a-z]+"
        )
        begin(state="one", before=["env", *secret, *to_user, *python])
        credentials = f"CREDENTIALS_DIRECTORY={self.folder}/credentials"
        begin(state="two", before=["env", *secret, credentials, *to_user, *python], database_url=None)

    def run_jobs(self) -> list[int]:
        """One of each kind, until all of them have ended; what does not end by itself is left pending."""
        add, told = self.site.client.add_job, self.canaries
        ended = [
            add("declared", {"password": told["declared"]}),
            add("declared", {"password": told["letter"]}, dead_letter_job_type="letters"),
            add("typed", {"pin": told["typed"]}),
            add("typed", {"pin": [told["invalid"]], "number": 1}),
            add(
                "named",
                {"deep": [{"Token": told["named"]}], "token": told["named"]},
                metadata={"token": told["metadata"]},
            ),
            add("patterned", {"mirrored": told["patterned"][::-1]}),
            add("stuck", {"mirrored": told["stuck"][::-1]}, force_kill_on_timeout=True),
        ]
        for job_id in ended:
            self.site.await_end(job_id)
        letter = self.site.job(ended[1]).dead_letter_job_id
        assert letter is not None
        return [*ended, letter, add("declared", {"password": told["declared"]}, run_at="2099-01-01T00:00:00Z")]

    def spy(self) -> tuple[dict[str, Any], list[int]]:
        """What a handler can read of all processes of both daemons; the pids of keepers and supervisors."""
        tops = [pid for each in self.site.daemons for pid in (each.keeper.pid, each.supervisor)]
        pids = sorted({*tops, *(pid for each in self.site.daemons for pid in descendants(each.keeper.pid))})
        place = self.site.place / "spied"
        mirrored = [each[::-1] for each in self.canaries.values()]
        job_id = self.site.add("spy", extra={"place": str(place), "pids": list(pids), "mirrored": list(mirrored)})
        seen = self.site.await_end(job_id).output
        assert isinstance(seen, dict)
        self.found["what a handler reads in /proc"] = place.read_bytes().decode(errors="replace")
        return seen, tops

    def collect(self, jobs: list[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """All that the daemons wrote, and what each command shows."""
        self.found["logs"] = "\n".join(json.dumps(line) for each in self.site.daemons for line in each.log)
        assert "a hook has ***" in self.found["logs"]
        self._collect_commands(jobs, capsys, monkeypatch)
        self._collect_files()
        self._collect_tables()
        tap = (self.folder / "tap").read_bytes().split(b"\n\n")
        self.found["frames"] = _text(each for each in tap if not each.startswith((b"Run ", b"Done ")))
        self.found["frames of jobs"] = _text(each for each in tap if each.startswith((b"Run ", b"Done ")))
        assert "Fork" in self.found["frames"]
        assert self.canaries["typed"] in self.found["frames of jobs"]

    def _collect_commands(
        self, jobs: list[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(URL_VARIABLE, self.url)
        refused = f"postgresql://me:{self.canaries['refused']}@127.0.0.1/x"
        each = [
            [word, str(job), *more] for job in jobs for word in ("show", "logs", "explain") for more in ([], ["--json"])
        ]
        wide = [["list"], ["list", "--json"], ["status"], ["status", "--json"], ["events"], ["doctor"], ["counts"]]
        changing = [["edit", str(jobs[-1]), "--priority=3", "--json"], ["cancel", str(jobs[-1]), "--json"]]
        changing += [
            ["retry", str(jobs[0]), "--json"],
            ["config", "show"],
            ["check"],
            ["status", "--database-url", refused],
        ]
        changing += [["reload", "--check", "--state-dir", str(self.folder / "one")]]
        capsys.readouterr()
        for words in (*each, *wide, *changing):
            enter(words)
            out, err = capsys.readouterr()
            assert "Traceback" not in err
            self.found[" ".join(words).replace(refused, "URL")] = out + err
        assert "***" in self.found[f"show {jobs[0]}"]
        assert "RuntimeError: no access with ***" in self.found[" ".join(changing[-1])]

    def _collect_files(self) -> None:
        """The state directories, their names and what stands in them."""
        for each in (path for name in ("one", "two") for path in (self.folder / name).rglob("*")):
            said = each.read_bytes().decode(errors="replace") if each.is_file() else ""
            self.found[f"file {each.name}"] = str(each) + said
        assert any(name.startswith("file ") for name in self.found)

    def _collect_tables(self) -> None:
        """All that stands in the database but what a job is given, and what it returns."""
        engine = create_engine(make_url(self.url).set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            for name in inspect(connection).get_table_names():
                rows = connection.execute(select(text("*")).select_from(table(name))).mappings()
                mine = {"payload", "output", "metadata"} if name == "job" else set()
                shown = [{key: value for key, value in row.items() if key not in mine} for row in rows]
                self.found[f"table {name}"] = str(shown)
        engine.dispose()


def _text(pieces: Any) -> str:
    return "\n".join(each.decode(errors="replace") for each in pieces)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Both daemons serve."""
    server = PostgreSQL(tmp_path_factory.mktemp("server"), tcp=True).start()
    try:
        with stranger() as somebody, subreaper():
            made = Stage(somebody, server)
            try:
                try:
                    made.start()
                except AssertionError as error:
                    raise AssertionError(made.site.logs()) from error
                yield made
            finally:
                made.site.close()
    finally:
        server.close()


def test_planted_secrets_are_found_nowhere(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs, tables, events, errors, dumps, /proc, frames, state directories, commands: not in one of them."""
    seen, tops = stage.spy()
    jobs = stage.run_jobs()
    eventually(lambda: stage.site.attempts(jobs[6])[0].stack_dump, what="the stack before the kill")
    stage.collect(jobs, capsys, monkeypatch)
    leaks = [
        f"{name}: in {where}"
        for name, canary in stage.canaries.items()
        for where, said in stage.found.items()
        if canary in said and not _is_the_jobs_own(name, where)
    ]
    assert leaks == []
    assert set(seen["readable"]).isdisjoint(tops), "a handler reads the environment of a keeper or supervisor"
    assert set(map(int, seen["heap"])).isdisjoint(tops), "a handler reads the memory of a keeper or supervisor"
    of_the_daemon = [list(stage.canaries).index(each) for each in OF_THE_DAEMON]
    assert [pid for pid, held in seen["heap"].items() if set(held) & set(of_the_daemon)] == []
    assert len(seen["heap"]) >= 3, "templates and another worker were looked into"


def _is_the_jobs_own(name: str, where: str) -> bool:
    """What a job is sent and what it answers; code that others load."""
    return (where == "frames of jobs" and name not in OF_THE_DAEMON) or (
        name == OF_THE_CODE and where in {"frames", "what a handler reads in /proc"}
    )
