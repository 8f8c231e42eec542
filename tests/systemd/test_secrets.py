"""Secrets that jobs, code and the unit hold are not in the journal; the other places are in faults/test_canaries.py."""

from __future__ import annotations

import secrets

from tests.support.systemd_service import CONFIGURATION, UNIT, Service
from tests.support.waiting import eventually

CREDENTIAL = "/etc/credstore/jobwarden.database_url"
OPTIONS = """
log_job_output = true
secret_fields = ["token"]
redact = ["sk_live_[0-9a-z]+"]
"""
HANDLERS = """
from jobwarden import handler

@handler("declared", secret="password", max_attempts=1)
def declared(payload):
    print("declared", payload["password"], payload)
    raise ValueError(f"wrong password {payload['password']!r}")

@handler("named", max_attempts=1)
def named(payload):
    print("named", payload["token"])
    raise KeyError(payload["token"])

@handler("patterned", max_attempts=1)
def patterned(payload):
    print("patterned", "sk_live_" + payload["tail"])
    raise RuntimeError("sk_live_" + payload["tail"])
"""


def test_what_is_secret_is_not_in_the_journal(service: Service) -> None:
    """Neither what jobs print and raise, nor why code does not load, nor the unit's own variables and credentials."""
    names = ("declared", "named", "patterned", "code", "variable", "credential")
    canaries = {name: f"canary{secrets.token_hex(8)}" for name in names}
    place, broken = (f"{CONFIGURATION}/handlers/{name}.py" for name in ("canaries", "broken"))
    service.lab.write(place, HANDLERS)
    service.drop_in("secret", f"[Service]\nEnvironment=SECRET_OF_THE_SERVICE={canaries['variable']}\n")
    service.configure(more=OPTIONS)
    try:
        wait_for_a_server(service, f"postgresql://jobs:{canaries['credential']}@127.0.0.1:1/jobs")
        service.do("start")
        for job_type, field in (("declared", "password"), ("named", "token"), ("patterned", "tail")):
            run_and_read(service, job_type, {field: canaries[job_type]})
        service.lab.write(broken, f"raise RuntimeError('sk_live_{canaries['code']}')\n")
        assert service.do("reload", check=False).returncode != 0
        shown = {"journal": str(service.lab.journal()), "status": service.status() + service.show("StatusText")}
        assert all("broken.py" in said for said in shown.values())
        assert [(name, where) for where, said in shown.items() for name, each in canaries.items() if each in said] == []
    finally:
        for path in (place, broken, CREDENTIAL):
            service.lab.path(path).unlink(missing_ok=True)
        service.drop_in("secret", "")
        service.configure()
        service.do("restart")


def wait_for_a_server(service: Service, url: str) -> None:
    """A daemon that has this credential, until it has said that nobody is there."""
    service.do("stop")
    service.lab.write(CREDENTIAL, url, mode=0o600)
    service.lab.run("systemctl", "start", "--no-block", UNIT)
    eventually(lambda: "127.0.0.1:1" in service.show("StatusText"), what="the server that is away in the status")
    service.do("stop")
    service.lab.path(CREDENTIAL).unlink()


def run_and_read(service: Service, job_type: str, payload: dict[str, str]) -> None:
    """A job, until the journal has what it printed, with the secret masked."""
    job_id = service.client.add_job(job_type, payload)
    service.await_end(job_id)

    def printed() -> bool:
        return f"{job_type} ***" in str(service.lab.journal("SYSLOG_IDENTIFIER=jobwarden", f"JOB_ID={job_id}"))

    eventually(printed, what="what the job printed")
