"""How the values of a row are written in JSON, and read back as equal values.

A reader in another language wants numbers, texts, arrays and objects; a reader in Python wants the
value that the event had. So a value is written readably, and beside it stands the name of its form
where JSON alone does not say it: the price ``"9.90"`` has the form ``"decimal"``. The form of an
array or object holds those of its items.

What depends on the type of the column (the member of an enum, the value of a ``TypeDecorator``) is
written as the type would write it to the database, without a driver.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, PickleType
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..sql import RENDERING
from .value_forms import form_called, form_of

__all__ = ["MOST", "ColumnForm", "Form", "Type", "decode", "encode"]

Form = str | dict[str, Any]
"""The name of a form; with the forms of what it holds, if JSON does not express that."""
Type = TypeEngine[Any] | None
"""The type of the column that a value is of; None if it is not known."""
MOST = 2**53 - 1
"""The greatest whole number that JavaScript, and most readers of JSON, keep exactly."""
_PLAIN = frozenset({str, bool, type(None)})
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_UTC = ("UTC", "Etc/UTC")


class ColumnForm(Exception):
    """The type of the column refuses a value: what is its ``__cause__``."""


# -- writing ---------------------------------------------------------------------------------------


def encode(value: Any, type_: Type) -> tuple[Any, Form | None]:
    """Return what is written for a value, and the name of its form; None if JSON expresses it.

    :raises TypeError: if nothing writes the value, the type of the column included.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value, None
    if kind is int:
        return (value, None) if -MOST <= value <= MOST else (str(value), "integer")
    if kind is float:
        return (value, None) if math.isfinite(value) else (_NOT_FINITE[str(value)], "number")
    if kind is list:
        return _encode_items(value, "list", type_)
    if kind is dict:
        return _encode_members(value, type_)
    if kind is datetime and (zone := _zone(value)) is not None:
        return value.isoformat(), {"datetime": zone}
    form = form_of(kind)
    if form is None:
        return _encode_by_column(value, type_)
    name, write, _ = form
    parts = write(value)
    if type(parts) is str:
        return parts, name
    if name == "tuple":
        return _encode_items(parts, name, type_)
    written, inner = encode(parts, None)
    return written, name if inner is None else {name: inner}


def _encode_items(items: list[Any], name: str, type_: Type) -> tuple[list[Any], Form | None]:
    of_items = type_.item_type if isinstance(type_, ARRAY) else type_
    encoded = [encode(item, of_items) for item in items]
    forms = [form for _, form in encoded]
    written = [item for item, _ in encoded]
    if not any(forms):
        return written, None if name == "list" else name
    first, *others = {
        repr(f): f for (_, f), item in zip(encoded, items) if item is not None
    }.values()
    return written, {name: forms if others else first}


def _encode_members(members: dict[Any, Any], type_: Type) -> tuple[Any, Form | None]:
    if not all(type(key) is str for key in members):
        return _encode_by_column(members, type_)
    encoded = {key: encode(member, None) for key, member in members.items()}
    forms = {key: form for key, (_, form) in encoded.items() if form is not None}
    written = {key: member for key, (member, _) in encoded.items()}
    return written, {"object": forms} if forms else None


def _encode_by_column(value: Any, type_: Type) -> tuple[Any, Form]:
    if type_ is None:
        raise TypeError(f"a {type(value).__name__} has no form in JSON")
    try:
        process = type_.dialect_impl(RENDERING).bind_processor(RENDERING)
        stored = value if process is None else process(value)
    except Exception as error:  # a TypeDecorator may raise anything
        raise TypeError(
            f"its type, {type_!r}, does not write a {type(value).__name__}: {error}"
        ) from error
    if type(stored) is type(value):
        raise TypeError(
            f"its type, {type_!r}, gives back a {type(value).__name__} for the database"
        )
    written, inner = encode(stored, None)
    return written, {"column": inner}


def _zone(value: datetime) -> str | None:
    """Return the name of a time zone without which a value would not be equal: in it, an hour may
    come twice."""
    zone = value.tzinfo
    return zone.key if isinstance(zone, ZoneInfo) and zone.key not in _UTC else None


# -- reading ---------------------------------------------------------------------------------------


def decode(written: Any, form: Any, type_: Type) -> Any:
    """Return the value that was written.

    :param form: its form, as :func:`encode` gave it, or anything else that came in its place.
    :raises ColumnForm: if the type of the column refuses it.
    :raises ValueError: if it is not of this form, or the form is not known; TypeError, KeyError or
        ArithmeticError as well.
    """
    if form is None:
        return written
    name, inner = _named(form)
    if name == "list":
        return _decode_items(written, inner, type_)
    if name == "tuple":
        return tuple(_decode_items(written, inner, type_))
    if name == "object":
        return {key: decode(member, inner.get(key), None) for key, member in written.items()}
    if name == "column":
        return _decode_by_column(decode(written, inner, None), type_)
    if name == "datetime" and inner is not None:
        return datetime.fromisoformat(written).astimezone(ZoneInfo(inner))
    return form_called(name).read(written if inner is None else decode(written, inner, None))


def _named(form: Any) -> tuple[str, Any]:
    if isinstance(form, str):
        return form, None
    ((name, inner),) = form.items()
    return name, inner


def _decode_items(items: Any, inner: Any, type_: Type) -> list[Any]:
    of_items = type_.item_type if isinstance(type_, ARRAY) else type_
    if not isinstance(items, list):
        raise TypeError(f"{items!r} is not an array")
    if isinstance(inner, list):
        return [decode(item, form, of_items) for item, form in zip(items, inner, strict=True)]
    return [None if item is None else decode(item, inner, of_items) for item in items]


def _refuse_pickles(type_: TypeEngine[Any]) -> None:
    """
    :raises TypeError: if the type would unpickle what came from elsewhere.
    """
    while isinstance(type_, TypeDecorator | ARRAY):
        if isinstance(type_, PickleType):
            raise TypeError("a pickle is not loaded from JSON, because it may execute anything")
        type_ = type_.item_type if isinstance(type_, ARRAY) else type_.impl_instance


def _decode_by_column(stored: Any, type_: Type) -> Any:
    if type_ is None:
        raise ValueError("the model has no column for it")
    try:
        _refuse_pickles(type_)
        process = type_.dialect_impl(RENDERING).result_processor(RENDERING, None)
        return stored if process is None else process(stored)
    except Exception as error:
        raise ColumnForm from error
