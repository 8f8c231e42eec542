"""What differs between databases (`Dialect`), and how the right one is found for a URL (`registry`).

One folder for each: its engine, its statements.
"""

from __future__ import annotations

from jobwarden.store.dialects.dialect import Dialect
from jobwarden.store.dialects.options import StoreOptions
from jobwarden.store.dialects.registry import dialect_for, unsupported

__all__ = ["Dialect", "StoreOptions", "dialect_for", "unsupported"]
