"""Optional checks of payloads before they are added, against the schemas that live nodes publish.

The package jsonschema is imported only where it is wanted. A type that no node knows, or whose handler takes
anything, is accepted; where nodes disagree (a deploy is under way), one that accepts is enough. Called by `adding`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobwarden.clock import SECOND_NS, SYSTEM_CLOCK
from jobwarden.errors import InvalidJobError, InvalidSettingsError
from jobwarden.jobs.mistakes import place
from jobwarden.store.life import is_free, lock_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobwarden.jobs import JobOptions
    from jobwarden.store.store import Store
    from jobwarden.store.work import NodeView

FRESH_NS = 2 * SECOND_NS
"""For so long the nodes are not asked again; after it only if the database has changed."""

_SENTENCES = {
    "type": "must be of type {}",
    "additionalProperties": "has a field that is not known",
    "unevaluatedProperties": "has a field that is not known",
    "enum": "must be one of {}",
    "const": "must be {!r}",
}


class Schemas:
    """The published schemas, as validators. Safe to share between threads: what is kept is replaced as a whole."""

    def __init__(self) -> None:
        """Raises InvalidSettingsError if jsonschema is missing."""
        self._make = _maker()
        self._validators: dict[str, list[Any]] = {}
        """Job type -> one validator for each schema that is published for it; none: anything is accepted."""
        self._asked_ns: int | None = None
        self._version = 0

    def check(self, store: Store, jobs: Sequence[JobOptions], *, single: bool) -> None:
        """Raise InvalidJobError for the first payload that no node would accept; it names the path, not the value."""
        self._refresh(store)
        for index, job in enumerate(jobs):
            validators = self._validators.get(job.job_type, [])
            problems = [_first_problem(each, job.payload) for each in validators]
            if problems and all(problems):
                where, what = next(filter(None, problems))
                root = ("payload",) if single else ("jobs", index, "payload")
                raise InvalidJobError(place((*root, *where)), f"{what} (as the handler of {job.job_type!r} wants it)")

    def _refresh(self, store: Store) -> None:
        now_ns = SYSTEM_CLOCK.monotonic_ns()
        if self._asked_ns is not None and now_ns - self._asked_ns < FRESH_NS:
            return
        version = store.data_version()
        if self._asked_ns is None or version != self._version:
            self._validators = self._read(store)
        self._asked_ns, self._version = now_ns, version

    def _read(self, store: Store) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        takes_anything: set[str] = set()
        for node in _live_nodes(store):
            for served in node.types or ():
                if served.schema is None:
                    takes_anything.add(served.job_type)
                else:
                    found.setdefault(served.job_type, []).append(self._make(served.schema))
        return {name: validators for name, validators in found.items() if name not in takes_anything}


def _live_nodes(store: Store) -> list[NodeView]:
    folder = store.side_dir("nodes")
    nodes = store.nodes()
    return nodes if folder is None else [node for node in nodes if not is_free(lock_path(folder, node.node_id))]


def _maker() -> Any:
    try:
        from jsonschema import Draft202012Validator  # noqa: PLC0415 - an extra, only for those who want it
        from referencing import Registry  # noqa: PLC0415
    except ImportError as error:
        problem = "validate_payloads: needs the package jsonschema; install it with `pip install jobwarden[validate]`"
        raise InvalidSettingsError([problem]) from error
    # An empty registry: nothing that a schema refers to is fetched from anywhere.
    return lambda schema: Draft202012Validator(schema, registry=Registry())


def _first_problem(validator: Any, payload: object) -> tuple[Sequence[str | int], str] | None:
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    error = best_match(validator.iter_errors(payload))
    return None if error is None else (tuple(error.absolute_path), _sentence(error))


def _sentence(error: Any) -> str:
    """What the schema wants; of the payload only names of fields are told, never a value."""
    wanted = error.validator_value
    if error.validator == "required":
        return f"lacks the field {next(name for name in wanted if name not in error.instance)!r}"
    wanted = ", ".join(map(repr, wanted)) if isinstance(wanted, list) else wanted
    if pattern := _SENTENCES.get(error.validator):
        return pattern.format(wanted)
    return f"does not keep to {error.validator}{f' {wanted}' if isinstance(wanted, int | float | str) else ''}"
