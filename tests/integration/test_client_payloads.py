"""Payloads checked before they are added, against what live nodes publish."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobwarden.client import AsyncClient, Client, payloads
from jobwarden.clock import SYSTEM_CLOCK
from jobwarden.errors import InvalidJobError, InvalidSettingsError
from jobwarden.jobs import JobOptions
from jobwarden.store import Work, open_store
from jobwarden.store.life import lock_path
from jobwarden.store.work import ServedType
from tests.support.played_node import NAME, NODE_ID, PlayedNode
from tests.support.site import Site
from tests.support.waiting import eventually

INVOICE: dict[str, object] = {
    "type": "object",
    "properties": {
        "number": {"type": "integer", "minimum": 1},
        "kind": {"enum": ["a", "b"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}, "maxItems": 2},
    },
    "required": ["number"],
    "additionalProperties": False,
    "$defs": {"Line": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}},
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, validate_payloads=True) as opened:
        yield opened


@pytest.fixture
def _node(url: str) -> Iterator[None]:
    """A node that serves invoices by this schema, and anything else without one."""
    with PlayedNode(url):
        publish(url, ("invoice", INVOICE), ("any", None))
        yield


@pytest.fixture
def _asking_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "FRESH_NS", 0)


def publish(url: str, *schemas: tuple[str, dict[str, object] | None]) -> None:
    """As the played node's daemon does; a type that is named twice stands for two nodes."""
    served = [ServedType(job_type=name, schema=schema) for name, schema in schemas]
    store = open_store(url)
    writer = store.writer()
    text = msgspec.json.encode(served).decode()
    writer.transact(Work(now_us=SYSTEM_CLOCK.now_us(), node_id=NODE_ID, node_name=NAME, types=text))
    writer.close()
    store.close()


@pytest.mark.usefixtures("_node")
@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ("secret", "payload: must be of type object (as the handler of 'invoice' wants it)"),
        ({}, "payload: lacks the field 'number'"),
        ({"number": "secret"}, "payload.number: must be of type integer"),
        ({"number": 0}, "payload.number: does not keep to minimum 1"),
        ({"number": 1, "kind": "secret"}, "payload.kind: must be one of 'a', 'b'"),
        ({"number": 1, "other": "secret"}, "payload: has a field that is not known"),
        (
            {"number": 1, "lines": [{"text": "a"}, {"text": ["secret"]}]},
            "payload.lines[1].text: must be of type string",
        ),
        ({"number": 1, "lines": [{"text": ""}] * 3}, "payload.lines: does not keep to maxItems 2"),
    ],
)
def test_a_payload_that_no_handler_takes_is_refused(client: Client, payload: object, sentence: str) -> None:
    """The sentence names the place and what is wanted, never the value; nothing was added."""
    with pytest.raises(InvalidJobError) as caught:
        client.add_job("invoice", payload)
    assert str(caught.value).startswith(sentence)
    assert "secret" not in str(caught.value)
    assert client.count_jobs() == 0


@pytest.mark.usefixtures("_node")
def test_what_fits_or_is_not_known_is_accepted(client: Client) -> None:
    """A fitting payload, a type whose handler takes anything, and a type that no node knows."""
    assert client.add_job("invoice", {"number": 3, "lines": [{"text": "a"}]})
    assert client.add_job("any", 5)
    assert client.add_job("unknown", 5)


@pytest.mark.usefixtures("_node")
def test_of_many_jobs_the_wrong_one_is_named(client: Client) -> None:
    """By its place in the list; none is added."""
    jobs = [JobOptions(job_type="invoice", payload={"number": 1}), JobOptions(job_type="invoice", payload=None)]
    with pytest.raises(InvalidJobError, match=r"^jobs\[1\]\.payload: must be of type object"):
        client.add_jobs(jobs)
    assert client.count_jobs() == 0


@pytest.mark.usefixtures("_node", "_asking_each_time")
def test_a_new_schema_is_seen(client: Client, url: str) -> None:
    """What is remembered is asked for again once it is old and the database has changed."""
    client.add_job("invoice", {"number": 1})
    publish(url, ("invoice", {"type": "string"}))
    client.add_job("invoice", "text")
    with pytest.raises(InvalidJobError):
        client.add_job("invoice", {"number": 1})


@pytest.mark.usefixtures("_node", "_asking_each_time")
def test_where_nodes_disagree_one_that_accepts_is_enough(client: Client, url: str) -> None:
    """While a deploy is under way both the old and the new payloads have a handler; one may take anything."""
    publish(url, ("invoice", INVOICE), ("invoice", {"type": "string"}))
    assert client.add_job("invoice", "text")
    assert client.add_job("invoice", {"number": 1})
    with pytest.raises(InvalidJobError):
        client.add_job("invoice", 5)
    publish(url, ("invoice", INVOICE), ("invoice", None))
    assert client.add_job("invoice", 5)


@pytest.mark.usefixtures("_node")
def test_what_a_dead_node_served_does_not_count(client: Client) -> None:
    """Its row stays until somebody frees its jobs; the lock on its file shows that nobody is there."""
    folder = client.store.side_dir("nodes")
    assert folder is not None
    lock_path(folder, NODE_ID).touch()
    assert client.add_job("invoice", "anything")


@pytest.mark.usefixtures("_node")
def test_without_the_option_nothing_is_checked(url: str) -> None:
    """Validation is a wish of the caller."""
    with Client(url) as plain:
        assert plain.add_job("invoice", "anything")


@pytest.mark.usefixtures("_node")
def test_the_asynchronous_client_checks_as_well(url: str) -> None:
    """The option is the same."""

    async def use() -> None:
        async with AsyncClient(url, validate_payloads=True) as client:
            with pytest.raises(InvalidJobError, match=r"payload: lacks the field 'number'"):
                await client.add_job("invoice", {})

    asyncio.run(use())


def test_a_missing_package_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with the command that installs it."""
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "jsonschema":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidSettingsError, match=r"pip install jobwarden\[validate\]"):
        Client(url, validate_payloads=True)
    Client(url)


def test_a_real_daemons_schema_is_used(site: Site) -> None:
    """What the handler's annotation says is what the payload is held to."""
    site.start()
    eventually(lambda: any(node.types for node in site.client.store.nodes()), what="the daemon says what it serves")
    with Client(site.url, validate_payloads=True) as client:
        with pytest.raises(InvalidJobError, match=r"payload: lacks the field 'number'"):
            client.add_job("bill", {"amount": 1.5})
        job_id = client.add_job("bill", {"number": 1, "amount": 1.5})
    assert site.await_end(job_id).status == "completed"
