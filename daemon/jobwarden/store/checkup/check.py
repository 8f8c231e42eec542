"""What a dialect hands to the checkup: checks, each run in a transaction of its own so that none spoils another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection

from jobwarden.findings import Finding

Check = Callable[[Connection], Iterable[Finding]]
"""Reads on the connection, in a transaction that its caller began; may raise what the driver raises."""

NO_DATABASE = "database"
"""The subject of the finding that ends the looking: there is nothing to connect to."""
