"""The two ends of a wire may be of different versions: a pool's interpreter has a jobwarden of its own."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec

from jobwarden.wire import messages, page, template_terms

DIGESTS = {2: "744b6a6d460a71c8"}
"""WIRE_VERSION -> what the messages look like in it. The line of a version that was released never changes."""


def shapes(module: ModuleType) -> Iterator[str]:
    """Each message with its fields in their order, their types and defaults; and the bounds that these types name."""
    for name, found in vars(module).items():
        if isinstance(found, type) and issubclass(found, msgspec.Struct) and found.__module__ == module.__name__:
            types = found.__annotations__
            fields = [(each.name, types.get(each.name), _default(each)) for each in msgspec.structs.fields(found)]
            yield f"{name} {fields}"
    for statement in ast.parse(Path(str(module.__file__)).read_text()).body:
        if (
            isinstance(statement, ast.Assign)
            and (text := ast.unparse(statement)).partition(" = ")[2][:9] == "Annotated"
        ):
            yield text


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.name == "wire_version" or field.required:
        return ""
    return repr(field.default_factory() if field.default is msgspec.NODEFAULT else field.default)


def digest() -> str:
    """Of all that both ends have to agree upon."""
    words = [messages.FORK_DESCRIPTORS, messages.HOOKS_FENCE, messages.end_mark("n", 1), page.PAGE_BYTES]
    texts = [*shapes(messages), *shapes(template_terms), *map(repr, words)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def test_messages_that_changed_have_another_version() -> None:
    """Else a worker of the other version would take one thing for another instead of being refused at its Hello."""
    assert digest() == DIGESTS.get(messages.WIRE_VERSION), (
        f"the messages changed: raise WIRE_VERSION, if that was not done since the last release, and note {digest()!r}"
    )
