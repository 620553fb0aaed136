"""Values in a form that can be hashed, and that is equal only if PostgreSQL's values are the same.

In Python, 1, 1.0 and True are equal, and so are Decimal("1.0") and Decimal("1.00"). In JSON and in
a numeric column they differ. Lists cannot be hashed, although they can be keys.
"""

from __future__ import annotations

import ipaddress
import pickle
from collections.abc import Hashable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from uuid import UUID

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper

__all__ = ["frozen_row", "hashable", "mark_of"]

_PLAIN = frozenset({str, int, bytes, datetime, date, time, timedelta, UUID, type(None)})
"""Types whose values are equal in Python only if they are the same in PostgreSQL."""
_ADDRESSES = frozenset(
    getattr(ipaddress, f"IPv{version}{what}")
    for version in (4, 6)
    for what in ("Address", "Interface", "Network")
)
_BY_TEXT = frozenset({bool, float, Decimal}) | _ADDRESSES


def frozen_row(row: Any) -> tuple[Hashable, ...]:
    """Return the frozen values of a row; for an entity, those of its loaded column attributes."""
    return tuple([value if type(value) in _PLAIN else _frozen(value) for value in row])


def _frozen(value: Any) -> Hashable:
    kind: Any = type(value)
    if kind in _PLAIN:
        return value  # type: ignore[no-any-return]
    if kind in _BY_TEXT:
        return kind, repr(value)
    if isinstance(value, Enum) and value.name is not None:
        return kind, value.name
    if isinstance(value, list | tuple):
        return kind, tuple([_frozen(item) for item in value])
    if isinstance(value, dict):
        return kind, tuple([(key, _frozen(item)) for key, item in value.items()])
    if (names := _column_attributes(kind)) is not None:
        loaded = value.__dict__
        return kind, frozen_row(loaded[name] for name in names if name in loaded)
    try:
        hash(value)
    except TypeError:
        return kind, pickle.dumps(value)
    return value  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def _column_attributes(class_: type) -> tuple[str, ...] | None:
    """Return the names of a mapped class's column attributes; None if it is not a mapped class."""
    mapper: Any = inspect(class_, raiseerr=False)
    return tuple(mapper.column_attrs.keys()) if isinstance(mapper, Mapper) else None


def hashable(value: Any) -> Hashable:
    """Return a value for use in a key: the value itself, or a frozen one if it has no hash."""
    try:
        hash(value)
    except TypeError:
        return _frozen(value)
    return value  # type: ignore[no-any-return]


def mark_of(row: Any) -> Hashable:
    """Return what a row is compared by: a hash of 16 bytes, which the garbage collector ignores.

    If a value is of a type whose ``repr()`` may not say everything about it, the frozen row itself.
    """
    frozen = frozen_row(row)
    if not _is_all_text(frozen):
        return frozen
    return blake2b(repr(frozen).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_all_text(frozen: tuple[Hashable, ...]) -> bool:
    return all(
        type(value) in _PLAIN
        or (isinstance(value, tuple) and _is_all_text(value))
        or isinstance(value, type)
        for value in frozen
    )
