"""The JSON Schema of the config file, for editors that check and complete what is typed.

Made from the classes, like the pages. It accepts no file that the daemon refuses for the type or bounds of one value;
contradictions between values only `jobwarden check` finds. Called by `jobwarden config schema`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobwarden.settings.file import SECTION
from jobwarden.settings.model import OPTIONS, Settings
from jobwarden.settings.pool import PoolOptions, PoolSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The draft that editors know best."""

_SOMETHING = r"\S"
_PATTERNS = {
    "database_url": r"^[A-Za-z][A-Za-z0-9]*(\+[A-Za-z0-9_]+)?://",
    "name": r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
}


def config_schema() -> dict[str, Any]:
    """A JSON object. TOML has no null: where an option may have no value, the word `none` says so."""
    return {
        "$schema": DRAFT,
        "title": "Configuration of jobwarden",
        **_table(Settings.model_json_schema()["properties"], OPTIONS),
    }


def _table(made: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    properties = {name: _option(name, made[name]) for name in names}
    if "name" not in properties:
        properties["pool"] = {
            "description": "Pools of workers.",
            "type": "array",
            "items": _table(PoolSettings.model_json_schema()["properties"], ("name", *PoolOptions.model_fields)),
        }
    properties["handlers"] = _folder_or_section(properties)
    required = {"required": ["name"]} if "name" in properties else {}
    return {"type": "object", "additionalProperties": False, **required, "properties": properties}


def _option(name: str, made: Mapping[str, Any]) -> dict[str, Any]:
    """What pydantic makes of a field, without what says nothing."""
    option = {key: value for key, value in made.items() if key != "title" and (key, value) != ("default", None)}
    if "anyOf" in option:
        option["anyOf"] = [_alternative(name, each) for each in option["anyOf"]]
        return option
    return _alternative(name, option)


def _alternative(name: str, made: Mapping[str, Any]) -> dict[str, Any]:
    if made.get("type") == "null":
        return {"const": "none"}
    if made.get("type") == "string" and "enum" not in made:
        return {**made, "pattern": _PATTERNS.get(name, _SOMETHING)}
    return dict(made)


def _folder_or_section(options: Mapping[str, Any]) -> dict[str, Any]:
    """`handlers` is a path, or the table that is another spelling of three options."""
    section = {key: options[name] for key, name in SECTION.items()}
    return {"anyOf": [options["handlers"], {"type": "object", "additionalProperties": False, "properties": section}]}
