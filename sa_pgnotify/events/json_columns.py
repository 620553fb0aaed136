"""The values of rows as JSON text: of many rows a column at a time, of one row by a plan.

Writing an event must not cost much more than a JSON encoder takes for a dict that is there already,
and building that dict would cost more than this. Nearly all values of a column are of one class, and
nearly all rows of an entity have the same classes. So a row is a format string that is filled with
its values, of which few have to be converted. What comes out is what
:func:`~sa_pgnotify.events.json_forms.encode` says, with the JSON around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from .json_encoder import moment_text, moments_text, text_of
from .json_forms import MOST, Type, encode
from .value_forms import form_of

__all__ = [
    "SAFE",
    "ColumnTexts",
    "Plan",
    "Unusual",
    "column_texts",
    "format_of",
    "forms_object",
    "plan_of",
]


class ColumnTexts(NamedTuple):
    """The values of a column, ready to be put into a format string.

    :ivar items: one for each row.
    :ivar slot: the part of the format string that takes an item.
    :ivar forms: the JSON of their forms, one for each row; one for all, if they are alike; None if
        JSON expresses them all.
    """

    items: Sequence[Any]
    slot: str
    forms: Sequence[str | None] | str | None


class _Kind(NamedTuple):
    """How the values of one class are put into a format string.

    :ivar convert: makes the item of a value; None if it is the value itself.
    :ivar form: the JSON of the form; None if JSON expresses the values.
    """

    slot: str
    convert: Callable[[Any], Any] | None = None
    form: str | None = None


SAFE = range(-MOST, MOST + 1)
"""The whole numbers that are written as numbers."""
_zone_of = attrgetter("tzinfo")
_FIXED = (None, UTC)


class Unusual(Exception):
    """A value is not written as most values of its class are."""


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise Unusual
    return float.__repr__(value)


def _moment_text(value: datetime) -> str:
    zone = value.tzinfo
    if zone is not None and zone is not UTC:
        raise Unusual
    return moment_text(value)


_KINDS: dict[type, _Kind] = {
    str: _Kind("%s", encode_basestring),
    type(None): _Kind("null%.0s"),
    bool: _Kind("%s", {True: "true", False: "false"}.__getitem__),
    int: _Kind("%s"),
    float: _Kind("%s", _float_text),
    datetime: _Kind("%s", _moment_text, '"datetime"'),
    bytes: _Kind('"\\\\x%s"', bytes.hex, '"bytes"'),
}
_KINDS |= {  # their str() is written, and has nothing to escape
    kind: _Kind('"%s"', None, f'"{form.name}"')
    for kind in (Decimal, date, time, UUID, IPv4Address, IPv6Address)
    if (form := form_of(kind)) is not None
}


# -- of many rows ----------------------------------------------------------------------------------


def column_texts(values: Sequence[Any], type_: Type) -> ColumnTexts:
    """Return the values of a column.

    :raises TypeError: as :func:`encode`.
    """
    kinds = set(map(type, values))
    if len(kinds) == 1:
        (class_,) = kinds
        try:
            if (kind := _KINDS.get(class_)) is not None:
                return ColumnTexts(_alike(class_, kind, values), kind.slot, kind.form)
        except Unusual:
            pass
    items: list[str] = []
    forms: list[str | None] = []
    for value in values:
        written, form = encode(value, type_)
        items.append(text_of(written))
        forms.append(None if form is None else text_of(form))
    return ColumnTexts(items, "%s", forms if any(forms) else None)


def _alike(class_: type, kind: _Kind, values: Sequence[Any]) -> Sequence[Any]:
    """Return the items of values of one class."""
    if class_ is datetime:
        if any(zone not in _FIXED for zone in set(map(_zone_of, values))):
            raise Unusual
        return moments_text(values)
    if class_ is int and not (min(values) in SAFE and max(values) in SAFE):
        raise Unusual
    return values if kind.convert is None else list(map(kind.convert, values))


@lru_cache(maxsize=256)
def format_of(names: tuple[str, ...], slots: tuple[str, ...]) -> str:
    """Return a format string of objects with the members ``names``."""
    members = [
        f"{encode_basestring(name).replace('%', '%%')}:{slot}" for name, slot in zip(names, slots)
    ]
    return f"{{{','.join(members)}}}"


@lru_cache(maxsize=256)
def forms_object(names: tuple[str, ...], forms: tuple[str | None, ...]) -> str:
    """Return the JSON of the forms of a row; empty if there are none."""
    members = [f"{encode_basestring(name)}:{form}" for name, form in zip(names, forms) if form]
    return f"{{{','.join(members)}}}" if members else ""


# -- of one row ------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """How rows whose values are of certain classes are written.

    :ivar format: takes the items of a row.
    :ivar forms: the JSON of their forms; empty if there are none.
    """

    format: str
    forms: str
    converted: tuple[tuple[int, Callable[[Any], Any]], ...]
    numbers: tuple[int, ...]

    def text(self, row: tuple[Any, ...]) -> str:
        """Return a row as JSON.

        :raises Unusual: if it has to be written value by value.
        """
        for place in self.numbers:
            if row[place] not in SAFE:
                raise Unusual
        items = list(row)
        for place, convert in self.converted:
            items[place] = convert(items[place])
        return self.format % tuple(items)


def plan_of(names: tuple[str, ...], kinds: tuple[type, ...]) -> Plan | None:
    """Return the plan of rows; None if some values are not of the usual classes.

    :param kinds: the class of each value.
    """
    if not all(kind in _KINDS for kind in kinds):
        return None
    known = [_KINDS[kind] for kind in kinds]
    return Plan(
        format_of(names, tuple(kind.slot for kind in known)),
        forms_object(names, tuple(kind.form for kind in known)),
        tuple((i, kind.convert) for i, kind in enumerate(known) if kind.convert is not None),
        tuple(i for i, kind in enumerate(kinds) if kind is int),
    )
