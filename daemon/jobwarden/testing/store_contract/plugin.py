"""The plugin of pytest that runs each test of the suite on each store: whatever asks for `ground` is parametrised.

Registered by the repository's own tests and by the command. `@pytest.mark.only("sqlite", reason="...")` keeps a test to
the stores that it names; without a reason nothing is collected. At the end it says how many tests ran on which store.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from jobwarden.testing.store_contract.ground import GROUNDS, Ground

if TYPE_CHECKING:
    from collections.abc import Iterator

PROPERTY = "store"
"""The name under which a test's report says on which store it ran."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers of the suite known, wherever it runs."""
    config.addinivalue_line("markers", "only(*stores, reason): what no other store does; the reason is required")
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "timeout(seconds): a net, where pytest-timeout is installed")
    config.addinivalue_line("markers", "nightly: takes minutes; only run with `-m nightly`")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Once on each store that the test is for."""
    if "ground" in metafunc.fixturenames:
        names = [name for name in metafunc.config.stash[GROUNDS] if _is_for(metafunc.definition, name)]
        metafunc.parametrize("ground", names, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what none of the stores is meant by."""
    names = config.stash[GROUNDS]
    dropped = [item for item in items if not any(_is_for(item, name) for name in names)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in set(dropped)]


@pytest.fixture(scope="session")
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Where the databases of one store come from; made at the first test that needs it."""
    made = request.config.stash[GROUNDS][request.param]()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _note_the_store(request: pytest.FixtureRequest) -> None:
    """The report of a test says on which store it ran."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and "ground" in callspec.params:
        request.node.user_properties.append((PROPERTY, callspec.params["ground"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A line for each store: how many tests passed, failed, were skipped."""
    counted: dict[str, Counter[str]] = {name: Counter() for name in config.stash[GROUNDS]}
    for word in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(word, []):
            properties = dict(getattr(report, "user_properties", ()))
            if PROPERTY in properties:
                counted[properties[PROPERTY]][word] += 1
    if any(counted.values()):
        terminalreporter.section("the store's suite")
        for name, words in counted.items():
            said = ", ".join(f"{number} {word}" for word, number in words.items()) or "no test ran"
            terminalreporter.write_line(f"{name}: {said}")


def _is_for(item: pytest.Item, name: str) -> bool:
    for mark in item.iter_markers("only"):
        if not mark.args or not mark.kwargs.get("reason"):
            problem = f"{item.nodeid}: `only` wants the names of stores and a reason"
            raise pytest.UsageError(problem)
        if name not in mark.args:
            return False
    return True
