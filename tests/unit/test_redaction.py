"""What is taken out of texts of user code before the pool, the store and the log get them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from jobwarden import events
from jobwarden.jobs.claim import ClaimedJob
from jobwarden.settings import Settings
from jobwarden.supervisor import inputs as seen
from jobwarden.supervisor.redaction import OUT_OF_TIME, Redaction
from jobwarden.wire.messages import HANDLER_ERROR, Done, Failure, HandlerInfo

PAYLOAD = json.dumps({"user": "me", "password": "hunter22"})


@pytest.fixture(autouse=True)
def _signal_is_given_back() -> Iterator[None]:
    before = signal.getsignal(OUT_OF_TIME)
    yield
    signal.signal(OUT_OF_TIME, before)


def redaction(*, payload: str = PAYLOAD, job_type: str = "login", **options: Any) -> Redaction:
    """Slot 1 runs one job."""
    made = Redaction(Settings(**options))
    job = ClaimedJob(1, 1, job_type, payload, 1, 3, None, 0, 60.0, 1, None, 0, 0, 0)
    made.job_of = lambda slot: job if slot == 1 else None
    return made


def reported(message: str | None, captured: str | None) -> seen.Reported:
    """The end of an attempt in slot 1."""
    failure = None if message is None else Failure(HANDLER_ERROR, message)
    done = Done(1, 1, started_ns=1, ended_ns=2, cpu_us=1, peak_rss_kb=1, marked=True, failure=failure)
    return seen.Reported(1, done, captured)


def texts(fact: seen.Input) -> tuple[str | None, str | None]:
    """The error and what was printed."""
    assert isinstance(fact, seen.Reported)
    return fact.done.failure.message if fact.done.failure else None, fact.captured


def test_nothing_to_hide_changes_nothing() -> None:
    """Without patterns and secret fields each fact is the same object: nothing is paid for it."""
    fact = reported("hunter22", "hunter22")
    assert redaction().of_fact(fact) is fact


def test_the_values_of_secret_fields_go_out_of_errors_prints_and_dumps() -> None:
    """Of the very job that the slot runs, and of no other's."""
    made = redaction(secret_fields=["password"])
    fact = reported("ValueError: 'hunter22'", "me hunter22\n")
    assert texts(made.of_fact(fact)) == ("ValueError: '***'", "me ***\n")
    died, clean = (
        seen.Died(1, signal=9, exit_code=None, cpu_ms=1, peak_rss_kb=1, fenced=False, captured=text)
        for text in ("x hunter22", "x ***")
    )
    assert made.of_fact(died) == clean
    assert made.of_fact(seen.Cleared(1, "File hunter22")) == seen.Cleared(1, "File ***")
    assert made.of_fact(seen.Cleared(2, "File hunter22")) == seen.Cleared(2, "File hunter22")
    silent = reported(None, None)
    assert made.of_fact(silent) is silent


def test_what_is_read_only_with_the_next_output_of_a_worker_is_cleaned_too() -> None:
    """A very short job that writes past Python may have its text in the next one's; a worker's death ends that."""
    made = redaction(secret_fields=["password"])
    first = reported(None, None)
    assert made.of_fact(first) is first
    made.job_of = lambda _slot: None
    assert texts(made.of_fact(reported(None, "hunter22 of another"))) == (None, "*** of another")
    assert texts(made.of_fact(reported(None, "hunter22"))) == (None, "hunter22")


def test_what_a_handler_declared_stays_secret_when_newer_code_declares_less() -> None:
    """Workers of the older code may still run."""
    made = redaction()
    made.serve([HandlerInfo(job_type="login", file="a.py", secret=("password",))])
    made.serve([HandlerInfo(job_type="login", file="a.py"), HandlerInfo(job_type="b", file="b.py", secret=("x",))])
    assert made.rows == (("b", "x"), ("login", "password"))
    assert texts(made.of_fact(reported("hunter22", None))) == ("***", None)


def test_a_dead_letter_hides_the_values_of_the_job_that_failed() -> None:
    """Its own type declares nothing."""
    payload = f'{{"originalJob": {{"jobType": "login"}}, "originalPayload": {PAYLOAD}}}'
    made = redaction(payload=payload, job_type="dead")
    made.serve([HandlerInfo(job_type="login", file="a.py", secret=("password",))])
    assert texts(made.of_fact(reported(None, "hunter22"))) == (None, "***")
    deeper = redaction(payload=payload.replace('"originalPayload"', '"original\\u0050ayload"'), job_type="dead")
    deeper.serve([HandlerInfo(job_type="login", file="a.py", secret=("password",))])
    assert texts(deeper.of_fact(reported(None, "hunter22"))) == (None, "***")


def test_patterns_hold_for_all_texts_of_user_code() -> None:
    """Jobs, loads and births; what is no text of theirs, as the hash of the code, is left alone."""
    made = redaction(redact=["sk_[a-z0-9]+", "(?s)BEGIN.*?END"])
    assert texts(made.of_fact(reported("no sk_live1", "a BEGIN\nx\nEND b"))) == ("no ***", "a *** b")
    ready = seen.TemplateReady(1, "sk_hash", (), problems=("a.py: sk_a",), broken=("a.py",))
    assert made.of_fact(ready) == seen.TemplateReady(1, "sk_hash", (), problems=("a.py: ***",), broken=("a.py",))
    assert made.of_fact(seen.TemplateFailed(1, "sk_a", "a.py")) == seen.TemplateFailed(1, "***", "a.py")
    assert made.of_fact(seen.Unready(1, "sk_a")) == seen.Unready(1, "***")
    assert made.of_fact(seen.Unborn(1, "sk_a")) == seen.Unborn(1, "***")
    assert made.texts(["x sk_a"]) == ["x ***"]


def test_the_log_gets_facts_without_what_the_patterns_match() -> None:
    """Each text of a fact, also in lists; numbers stay numbers, and other listeners see the fact itself."""
    told: list[events.Fact] = []
    made = redaction(redact=["sk_[a-z0-9]+"])
    listener = made.listener(told.append)
    listener(events.Alerted(text="sk_a is wrong", pool="sk_pool"))
    listener(events.GenerationServed(generation=1, content_hash="x", types=["a", "sk_b"]))
    assert told == [
        events.Alerted(text="*** is wrong", pool="***"),
        events.GenerationServed(generation=1, content_hash="x", types=["a", "***"]),
    ]


@pytest.mark.parametrize(("pattern", "text"), [("(a+)+;", "a" * 60), (r"\S+:\S+@\S+", ":" * 20_000)])
def test_a_pattern_that_takes_too_long_costs_the_text_and_not_the_supervisor(pattern: str, text: str) -> None:
    """The text is left out as a whole, once it is told, and the next one is cleaned as ever."""
    told: list[events.Fact] = []
    made = redaction(redact=[pattern, "sk_[a-z0-9]+"])
    end = events.listen(told.append)
    for _ in range(2):
        _error, captured = texts(made.of_fact(reported(None, f"{text} sk_a")))
        assert captured == "[left out: a pattern of `redact` took too long on this text]"
    end()
    assert [type(each) for each in told] == [events.Alerted]
    assert texts(made.of_fact(reported(None, "sk_a"))) == (None, "***")
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0


def test_a_new_configuration_holds_at_once() -> None:
    """Other patterns, other names."""
    made = redaction(redact=["sk_[a-z]+"])
    made.change(Settings(redact=["pk_[a-z]+"], secret_fields=["user"]))
    assert made.text("sk_a pk_a") == "sk_a ***"
    assert made.rows == (("*", "user"),)
