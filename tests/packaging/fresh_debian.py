"""From nothing to a running service, to its next version, and back, on a Debian 12 that has only Python and pip.

    python -m tests.packaging.fresh_debian [--tree DIR]

Makes a root file system by debootstrap (or takes the one in DIR, made by an earlier run with --keep), boots it in the
lab of the tests, and types what an operator types; commands and what they print go to standard output. The wheels
come from this repository, built here; what they depend on comes from the package index, fetched beforehand, since the
lab has no network. Ends with 1 if anything is not as it should be. Needs what the lab needs, and debootstrap.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from jobwarden import __version__
from tests.packaging.wheels import ROOT, built_wheel, copied_source, downloaded_dependencies
from tests.support.systemd_lab import Lab, booted_lab
from tests.support.waiting import eventually

PACKAGES = "python3,python3-pip,python3-venv,systemd,systemd-sysv,dbus"
"""Of these the last three are on every Debian that boots; debootstrap leaves them out of its smallest variant."""
MIRROR = "http://deb.debian.org/debian"
NEXT_VERSION = "99.0"
QUEUED, ADDED = 120, 20
JOBS = QUEUED + ADDED
CONFIG = "--config /etc/jobwarden/jobwarden.toml"
HANDLER = """\
import os
import time
from jobwarden import handler


@handler("count_slowly")
def count_slowly(payload):
    with open(f"{os.environ['HOME']}/starts", "a") as starts:
        starts.write(f"{payload['n']}\\n")
    time.sleep(0.25)
    return payload["n"]
"""

FILL = f"""\
from jobwarden.client import Client
from jobwarden.jobs import JobOptions

with Client("sqlite:////var/lib/jobwarden/jobwarden.db") as client:
    client.add_jobs([JobOptions(job_type="count_slowly", payload={{"n": n}}) for n in range({QUEUED})])
"""
ADD = f"""\
for n in $(seq {QUEUED} {JOBS - 1}); do
    until why=$(jobwarden add count_slowly '{{"n": '$n'}}' --idempotency-key $n {CONFIG} 2>&1 >/dev/null); do
        echo "job $n: ${{why##*$'\\n'}}"; sleep 0.5
    done
done
"""


class Terminal:
    """Types into the lab and prints what a terminal would show."""

    def __init__(self, lab: Lab) -> None:
        """Nothing is typed yet."""
        self.lab = lab

    def say(self, sentence: str) -> None:
        """What comes next, for the reader."""
        print(f"\n# {sentence}", flush=True)

    def type(self, line: str, *, fails: bool = False) -> str:
        """A line for the shell, as root; its output. `fails`: its exit code must say so."""
        print(f"$ {line}", flush=True)
        answer = self.lab.run("bash", "-c", line, check=False, seconds=180)
        print(answer.stdout, end="", flush=True)
        assert (answer.returncode != 0) == fails, f"`{line}` ended with {answer.returncode}"
        return answer.stdout

    def ask(self, line: str) -> str:
        """The same, without showing it."""
        return self.lab.run("bash", "-c", line, seconds=180).stdout

    def ask_json(self, line: str) -> dict[str, object]:
        """The JSON that a command prints."""
        answer: dict[str, object] = json.loads(self.ask(line))
        return answer


def main() -> int:
    """Parse the command line, prepare, play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, help="a root file system that is there already")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the root file system there, and keep it")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobwarden-fresh-") as name:
        folder = Path(name)
        tree = wanted.tree or fresh_tree(wanted.keep or folder / "tree")
        wheels = prepared_wheels(folder)
        with booted_lab(tree=tree, binds={wheels: "/wheels"}, with_jobwarden=False) as lab:
            try:
                play(Terminal(lab))
            except BaseException:
                print(lab.run("journalctl", "--no-pager", "--lines=40", check=False).stdout, file=sys.stderr)
                raise
    print("\nall of it was as it should be")
    return 0


def fresh_tree(place: Path) -> Path:
    """A Debian 12 with Python and pip, and the systemd that every Debian boots with."""
    if shutil.which("debootstrap") is None:
        sys.exit("this needs debootstrap: apt-get install debootstrap")
    words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(place), MIRROR]
    print(f"$ {' '.join(words)}", flush=True)
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    return place


def prepared_wheels(folder: Path) -> Path:
    """This version, a later one of the same code, and what both need."""
    wheels = folder / "wheels"
    wheels.mkdir(mode=0o755)
    now = built_wheel(ROOT, wheels)
    built_wheel(copied_source(folder / "next", version=NEXT_VERSION), wheels)
    downloaded_dependencies(now, wheels, python="3.11")
    return wheels


def play(at: Terminal) -> None:
    """All of it, in its order."""
    _install(at)
    _run_a_job(at)
    _upgrade_over_a_running_queue(at)
    _uninstall(at)


def _install(at: Terminal) -> None:
    at.say("A Debian 12 that knows nothing of jobwarden")
    at.type("cat /etc/debian_version; python3 --version; pip --version; systemctl --version | head -1")
    at.type("python3 -m venv /opt/jobwarden")
    at.type(f"/opt/jobwarden/bin/pip install --quiet --no-index --find-links /wheels jobwarden=={__version__}")
    at.say("What would be done; the files in full are left out here")
    at.type("/opt/jobwarden/bin/jobwarden service install | grep '^[^ ]'")
    at.type("ls /etc/jobwarden /etc/systemd/system/jobwarden.service", fails=True)
    at.say("Doing it")
    at.type("/opt/jobwarden/bin/jobwarden service install --now")
    at.type("systemctl is-active jobwarden; systemctl is-enabled jobwarden")
    at.type("/opt/jobwarden/bin/jobwarden service install")
    at.type("jobwarden service show")
    at.type("systemctl status jobwarden --no-pager --lines=5")
    assert at.lab.show("jobwarden", "ActiveState")["ActiveState"] == "active"


def _run_a_job(at: Terminal) -> None:
    at.say("A job, by a handler that was shipped")
    line = f'runuser -u jobwarden -- jobwarden add digest_file \'{{"path": "/etc/os-release"}}\' --wait {CONFIG}'
    printed = at.type(line)
    assert at.type("sha256sum /etc/os-release").split()[0] in printed
    at.type(f"runuser -u jobwarden -- jobwarden status {CONFIG}")
    at.type(f"runuser -u jobwarden -- jobwarden doctor {CONFIG}")


def _upgrade_over_a_running_queue(at: Terminal) -> None:
    at.say(f"A queue of {QUEUED} jobs that take a quarter of a second each; {ADDED} more are added one by one")
    at.lab.write("/etc/jobwarden/handlers/count_slowly.py", HANDLER)
    at.type("sed -i 's/^# workers = 4/workers = 2/' /etc/jobwarden/jobwarden.toml && systemctl restart jobwarden")
    eventually(lambda: "count_slowly" in _status(at), what="the new handler is served")
    at.lab.write("/opt/fill.py", FILL)
    at.type("runuser -u jobwarden -- /opt/jobwarden/bin/python /opt/fill.py")
    at.lab.write("/opt/add", ADD)
    at.type("cat /opt/add")
    adder = at.lab.begin("runuser", "-u", "jobwarden", "--", "bash", "/opt/add")
    eventually(lambda: _ended(at) > 0, what="some jobs have ended")
    at.say("The next version, while jobs are added and run")
    at.type(f"/opt/jobwarden/bin/pip install --quiet --no-index --find-links /wheels jobwarden=={NEXT_VERSION}")
    at.type("jobwarden service install --now")
    at.type("jobwarden --version; systemctl show jobwarden --property=ActiveState,SubState,NRestarts,StatusText")
    at.say(f"{_ended(at)} of {JOBS} jobs have ended by now. What the adding shell met while pip replaced the files:")
    print(adder.communicate(timeout=300)[0] or "nothing", flush=True)
    at.say("When all have ended:")
    eventually(lambda: _ended(at) == JOBS, what="all jobs have ended", seconds=120)
    at.type(f"runuser -u jobwarden -- jobwarden counts {CONFIG}")
    at.say("How often each was started, and the attempts that were charged")
    at.type("sort -n /var/lib/jobwarden/starts | uniq -c | awk '{print $1}' | sort | uniq -c")
    page = at.ask_json(f"runuser -u jobwarden -- jobwarden list --type count_slowly --limit {JOBS} --json {CONFIG}")
    jobs = page["jobs"]
    assert isinstance(jobs, list)
    assert [(job["status"], job["attempts"]) for job in jobs] == [("completed", 1)] * JOBS, jobs
    assert sorted(job["output"] for job in jobs) == list(range(JOBS))
    at.say("All completed at the first attempt. The edited configuration is as it was:")
    at.type("grep -n '^[a-z]' /etc/jobwarden/jobwarden.toml")


def _status(at: Terminal) -> str:
    return at.ask(f"runuser -u jobwarden -- jobwarden status --json {CONFIG}")


def _ended(at: Terminal) -> int:
    page = at.ask_json(
        f"runuser -u jobwarden -- jobwarden list --type count_slowly --status completed --limit 1000 --json {CONFIG}"
    )
    jobs = page["jobs"]
    assert isinstance(jobs, list)
    return len(jobs)


def _uninstall(at: Terminal) -> None:
    at.say("Back to nothing")
    at.type("jobwarden service uninstall")
    at.type("jobwarden service uninstall --yes")
    at.type("systemctl status jobwarden --no-pager", fails=True)
    at.type("/opt/jobwarden/bin/jobwarden service uninstall --purge --yes")
    at.type("rm -r /opt/jobwarden /opt/add /opt/fill.py")
    at.type("getent passwd jobwarden", fails=True)
    left = at.type(
        "find / -xdev -path /wheels -prune -o -name '*jobwarden*' -print; cat /proc/[0-9]*/comm | grep jobwarden; true"
    )
    assert left == "", left


if __name__ == "__main__":
    sys.exit(main())
