"""The values of a row in the repr of its event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from reprlib import Repr
from typing import Any

from ..errors import UndecodableValue

__all__ = ["shown"]

_shortened = Repr()
_shortened.maxdict = _shortened.maxstring = _shortened.maxother = 60


def shown(values: Callable[[], Mapping[str, Any]]) -> str:
    """Return values for a repr, which must neither be long nor fail."""
    held = values()
    return _shortened.repr({name: _readable(held, name) for name in held})


def _readable(values: Mapping[str, Any], name: str) -> Any:
    try:
        return values[name]
    except UndecodableValue as error:
        return _Bare(f"<undecodable {error.text!r}>")


class _Bare(str):
    """A text whose repr is the text itself."""

    __slots__ = ()
    __repr__ = str.__str__
