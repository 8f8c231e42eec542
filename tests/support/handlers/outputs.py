"""Jobs whose output cannot be stored, and one whose output can."""

from __future__ import annotations

from typing import Any

from _stage import alone, pass_gate  # type: ignore[import-not-found]

from jobwarden import JobContext, handler


@handler("gated_large")
def gated_large(payload: dict[str, Any], ctx: JobContext) -> str:
    """A large output, at its gate's moment."""
    with alone(payload, ctx):
        pass_gate(payload, ctx)
        return "x" * int(payload["size"])


@handler("return_nul")
def return_nul(payload: dict[str, Any]) -> str:
    return "\u0000"


@handler("return_nan")
def return_nan(payload: dict[str, Any]) -> list[float]:
    return [float("nan")]


@handler("return_surrogate")
def return_surrogate(payload: dict[str, Any]) -> str:
    return "\ud800"


@handler("return_gigabyte")
def return_gigabyte(payload: dict[str, Any]) -> str:
    return "x" * 1_000_000_000


@handler("return_nested")
def return_nested(payload: dict[str, Any]) -> list[Any]:
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    return value


@handler("return_object")
def return_object(payload: dict[str, Any]) -> object:
    return object()
