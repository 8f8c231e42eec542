"""No error may carry a value: the two libraries that would put values into their messages are told not to."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import jobwarden
from jobwarden.settings import Settings
from jobwarden.settings.pool import PoolSettings

PACKAGE = Path(jobwarden.__file__).parent
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(PACKAGE / "testing"))
"""What runs: an installed package has the suite for stores of others as well, whose engines have nothing to hide."""
JUDGES_ONLY_OPTIONS = {"settings/load.py"}
"""An operator is shown the wrong value of an option that is no secret."""


def calls(name: str, path: Path) -> list[dict[str, object]]:
    """The keyword arguments of each call of this function or method that has any."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == name:
            constants = {each.arg: each.value for each in node.keywords if each.arg}
            found.append({key: getattr(value, "value", None) for key, value in constants.items()})
    return found


def test_every_engine_hides_the_parameters_of_statements() -> None:
    """SQLAlchemy's errors and its log would show payloads."""
    found = [each for path in SOURCES for each in calls("create_engine", path)]
    assert len(found) >= 3
    assert all(each.get("hide_parameters") is True for each in found)


def test_every_reading_of_a_validation_error_leaves_the_input_out() -> None:
    """Pydantic's errors hold the value that was wrong."""
    found = [
        (path, each)
        for path in SOURCES
        if str(path.relative_to(PACKAGE)) not in JUDGES_ONLY_OPTIONS
        for each in calls("errors", path)
        if each
    ]
    assert len(found) >= 2
    assert [path for path, each in found if each.get("include_input") is not False] == []


@pytest.mark.parametrize("model", [Settings, PoolSettings])
def test_settings_say_what_is_wrong_without_the_value(model: type[Settings | PoolSettings]) -> None:
    """Also where the error itself is printed."""
    assert model.model_config.get("hide_input_in_errors") is True
    with pytest.raises(ValueError, match="workers") as caught:
        model.model_validate({"workers": "canary"})
    assert "canary" not in str(caught.value)
