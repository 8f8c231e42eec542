"""The names of secret payload fields: told by nodes, kept for those who look at jobs."""

from __future__ import annotations

import threading

from jobwarden.store import Store, Work

from .scene import Scene


def told(scene: Scene, *rows: tuple[str, str]) -> None:
    """A transaction of a node that says this."""
    scene.transact(secrets=rows)


def test_what_nodes_say_is_kept_and_read_by_type(scene: Scene) -> None:
    """The name of a field is secret for its type, or for all; its letters' case does not matter."""
    told(scene, ("login", "Password"), ("pay", "card"), ("*", "token"))
    fields = scene.store.secret_fields()
    assert fields.of("login") == {"password", "token"}
    assert fields.of("pay") == {"card", "token"}
    assert fields.of("other") == {"token"}


def test_what_was_secret_once_stays_it(scene: Scene) -> None:
    """Old jobs are masked also after the handler that declared it is gone; saying it again changes nothing."""
    told(scene, ("login", "password"))
    told(scene, ("login", "password"), ("login", "pin"))
    told(scene, ("other", "x"))
    assert scene.store.secret_fields().of("login") == {"password", "pin"}


def test_two_nodes_may_say_the_same_at_once(scene: Scene, store: Store) -> None:
    """Neither transaction fails over the other's row."""
    problems: list[Exception] = []

    def say(number: int) -> None:
        writer = store.writer()
        try:
            for each in range(20):
                rows = ((f"type {each}", "password"), (f"type {each}", f"own {number}"))
                writer.transact(Work(now_us=scene.now_us, node_id="node", node_name="host:2", secrets=rows))
        except Exception as error:  # noqa: BLE001 - shown below
            problems.append(error)
        finally:
            writer.close()

    threads = [threading.Thread(target=say, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert store.secret_fields().of("type 7") == {"password", "own 0", "own 1"}
