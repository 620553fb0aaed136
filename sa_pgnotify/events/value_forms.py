"""The classes whose values JSON cannot express, and what is written for each.

They are those of Python and SQLAlchemy, and those that a driver gives for columns of which the model
does not say the type. A driver is imported only to read a value of one of its own classes.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from typing import Any, NamedTuple

from sqlalchemy.dialects.postgresql.ranges import MultiRange, Range

__all__ = ["ValueForm", "form_called", "form_of"]


class ValueForm(NamedTuple):
    """How the values of one class are written.

    :ivar name: of the form.
    :ivar write: returns what is written: a text, a number, a list or a dict, whose items are
        encoded in turn.
    :ivar read: returns the value of it.
    """

    name: str
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def form_of(class_: type) -> ValueForm | None:
    """Return the form of the values of a class; None if there is none."""
    return _BY_CLASS.get(class_) or _BY_PATH.get(f"{class_.__module__}.{class_.__qualname__}")


def form_called(name: Any) -> ValueForm:
    """Return the form of a name.

    :raises ValueError: if there is none.
    """
    if name not in _BY_NAME:
        raise ValueError(f"the form {name!r} is not known")
    return _BY_NAME[name]


def _write_seconds(value: dt.timedelta) -> float | str:
    """Return an interval as a number of seconds, or as text if the number would not be exact."""
    seconds = value.total_seconds()
    if dt.timedelta(seconds=seconds) == value:
        return seconds
    return str(Decimal(value // dt.timedelta(microseconds=1)).scaleb(-6))


def _read_seconds(written: Any) -> dt.timedelta:
    if not isinstance(written, str):
        return dt.timedelta(seconds=written)
    if not _SECONDS.fullmatch(written):
        raise ValueError(f"{written[:30]!r} is not a number of seconds")
    return dt.timedelta(microseconds=int(Decimal(written).scaleb(6)))


_SECONDS = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?")


def _write_bytes(value: Any) -> str:
    return f"\\x{bytes(value).hex()}"


def _read_bytes(written: str) -> bytes:
    if not written.startswith("\\x"):
        raise ValueError(f"{written[:20]!r} does not begin with \\x")
    return bytes.fromhex(written[2:])


def _write_range(value: Range[Any]) -> dict[str, Any]:
    return {"lower": value.lower, "upper": value.upper, "bounds": value.bounds} | (
        {"empty": True} if value.empty else {}
    )


def _read_range(written: Any) -> Range[Any]:
    lower, upper, bounds = written["lower"], written["upper"], written["bounds"]
    return Range(lower, upper, bounds=bounds, empty=written.get("empty", False))


_BYTES = ValueForm("bytes", _write_bytes, _read_bytes)
_ADDRESS = ValueForm("address", str, ipaddress.ip_address)
_INTERFACE = ValueForm("interface", str, ipaddress.ip_interface)
_NETWORK = ValueForm("network", str, ipaddress.ip_network)
_BY_CLASS: dict[type, ValueForm] = {
    Decimal: ValueForm("decimal", str, Decimal),
    dt.datetime: ValueForm("datetime", dt.datetime.isoformat, dt.datetime.fromisoformat),
    dt.date: ValueForm("date", dt.date.isoformat, dt.date.fromisoformat),
    dt.time: ValueForm("time", dt.time.isoformat, dt.time.fromisoformat),
    dt.timedelta: ValueForm("interval", _write_seconds, _read_seconds),
    uuid.UUID: ValueForm("uuid", str, uuid.UUID),
    bytes: _BYTES,
    bytearray: _BYTES,
    memoryview: _BYTES,
    ipaddress.IPv4Address: _ADDRESS,
    ipaddress.IPv6Address: _ADDRESS,
    ipaddress.IPv4Interface: _INTERFACE,
    ipaddress.IPv6Interface: _INTERFACE,
    ipaddress.IPv4Network: _NETWORK,
    ipaddress.IPv6Network: _NETWORK,
    Range: ValueForm("range", _write_range, _read_range),
    MultiRange: ValueForm("multirange", list, MultiRange),
    tuple: ValueForm("tuple", list, tuple),
}


# -- by path, imported only when a value is read ---------------------------------------------------


def _write_bounds(value: Any) -> dict[str, Any]:
    if value.isempty:
        return {"empty": True}
    bounds = ("[" if value.lower_inc else "(") + ("]" if value.upper_inc else ")")
    return {"lower": value.lower, "upper": value.upper, "bounds": bounds}


def _range(name: str, path: str) -> ValueForm:
    """Return the form of a driver's own class of ranges."""

    def read(written: Any) -> Any:
        made = _class(path)
        if written.get("empty"):
            return made(empty=True)
        lower, upper, bounds = written["lower"], written["upper"], written["bounds"]
        if name.startswith("asyncpg"):
            return made(lower, upper, lower_inc=bounds[0] == "[", upper_inc=bounds[1] == "]")
        return made(lower, upper, bounds)

    return ValueForm(name, _write_bounds, read)


def _figure(name: str) -> ValueForm:
    """Return the form of one of asyncpg's classes of geometric figures, which are tuples."""
    return ValueForm(
        f"asyncpg.{name}", list, lambda written: _class(f"asyncpg.types.{name}")(*written)
    )


def _write_path(value: Any) -> dict[str, Any]:
    return {"points": list(value.points), "closed": value.is_closed}


def _read_path(written: Any) -> Any:
    return _class("asyncpg.types.Path")(*written["points"], is_closed=written["closed"])


def _maker(path: str) -> Callable[[Any], Any]:
    """Return a function that makes a value of a class."""

    def make(parts: Any) -> Any:
        return _class(path)(parts)

    return make


def _class(path: str) -> Any:
    """Return a class of a driver or of SQLAlchemy.

    :raises ValueError: if the package is not installed, or too old to have it.
    """
    module, _, name = path.rpartition(".")
    package = module.partition(".")[0]
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise ValueError(
            f"it is a {name} of {package}, which is not installed here or too old; "
            "give the column its type in the model"
        ) from error


_PGPROTO = "asyncpg.pgproto.types"
_BY_PATH: dict[str, ValueForm] = {
    # since SQLAlchemy 2.1
    "sqlalchemy.dialects.postgresql.bitstring.BitString": ValueForm(
        "bits", str.__str__, _maker("sqlalchemy.dialects.postgresql.bitstring.BitString")
    ),
    **{
        f"psycopg2._range.{name}": _range(f"psycopg2.{name}", f"psycopg2.extras.{name}")
        for name in ("NumericRange", "DateRange", "DateTimeRange", "DateTimeTZRange")
    },
    "psycopg.types.range.Range": _range("psycopg.Range", "psycopg.types.range.Range"),
    "psycopg.types.multirange.Multirange": ValueForm(
        "psycopg.Multirange",
        list,
        _maker("psycopg.types.multirange.Multirange"),
    ),
    "asyncpg.types.Range": _range("asyncpg.Range", "asyncpg.types.Range"),
    **{
        f"{_PGPROTO}.{name}": _figure(name)
        for name in ("Point", "Box", "Line", "LineSegment", "Polygon", "Circle")
    },
    f"{_PGPROTO}.Path": ValueForm("asyncpg.Path", _write_path, _read_path),
    f"{_PGPROTO}.BitString": ValueForm(
        "asyncpg.BitString",
        lambda value: value.as_string().replace(" ", ""),
        _maker("asyncpg.types.BitString"),
    ),
    "asyncpg.pgproto.pgproto.UUID": ValueForm("uuid", str, uuid.UUID),
    "asyncpg.protocol.record.Record": ValueForm("tuple", list, tuple),
}

_BY_NAME = {form.name: form for form in (*_BY_PATH.values(), *_BY_CLASS.values())} | {
    "integer": ValueForm("integer", str, int),
    "number": ValueForm("number", str, float),
}
