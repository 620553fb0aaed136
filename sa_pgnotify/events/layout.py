"""The shape of a message, parsed: which columns its fields belong to.

A shape may be forged, because anybody can send on a channel. So it is checked in full and bounded
before anything is decoded by it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

from ..protocol.wire import MASK_BITS

__all__ = ["Layout", "Undecodable"]

_MAX_COLUMNS = 1600
"""The most columns that a table of PostgreSQL can have."""
_MAX_SHAPE = 150_000
"""Characters. The shape of a table with the most columns, and names of 63 bytes, is shorter."""
_MAX_MASK = len(str((1 << MASK_BITS) - 1))
"""Digits of a mask."""


class Undecodable(Exception):
    """A row of a message cannot be made into an event; the listener reports it as a ``Gap``."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The shape of a message, as :mod:`sa_pgnotify.protocol.wire` defines it.

    A table's decoder keeps one layout for each text of a shape, so layouts are compared by identity
    and what is known about each is found without comparing columns.

    :ivar columns: the names of all columns.
    :ivar carried: how many of the first columns have a field in each row.
    :ivar key: how many of the first columns are the identity.
    :ivar discriminator: the index of the discriminator's field; ``carried`` if the trigger looked
        it up in the root table; None if there is none.
    :ivar types: for each carried column, the letter of its type's family; None if the trigger did
        not send them.
    """

    columns: tuple[str, ...]
    carried: int
    key: int
    discriminator: int | None
    types: str | None = None

    @classmethod
    def read(cls, shape: str) -> Layout:
        """Parse a shape.

        :raises Undecodable: if ``shape`` is not a valid shape.
        """
        if len(shape) > _MAX_SHAPE:
            raise Undecodable(f"a shape of {len(shape)} characters")
        try:
            given = json.loads(shape)
            columns, carried, key = given["columns"], given["carried"], given["key"]
            discriminator, types = given.get("discriminator"), given.get("types")
            valid = (
                all(isinstance(name, str) for name in columns)
                and len(set(columns)) == len(columns) <= _MAX_COLUMNS
                and (types is None or (isinstance(types, str) and len(types) == carried))
                and all(type(number) is int for number in (key, carried, discriminator or 0))
                and 0 < key <= carried <= len(columns)
                and (discriminator is None or 0 <= discriminator <= carried)
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Undecodable(f"shape {shape[:80]!r}: {error}") from error
        if not valid:
            raise Undecodable(f"shape {shape[:80]!r} contradicts itself")
        return cls(tuple(columns), carried, key, discriminator, types)

    @cached_property
    def masks(self) -> int:
        """The number of fields that the mask of an update takes."""
        return -(-len(self.columns) // MASK_BITS)

    @cached_property
    def fields(self) -> int:
        """The number of fields of a row, without masks and old values."""
        return self.carried + (self.discriminator == self.carried)

    def changed_columns(self, masks: tuple[str | None, ...]) -> frozenset[int]:
        """Return the indexes of the columns that an update changed.

        :raises Undecodable: if the masks are not numbers, or are out of range.
        """
        width = len(self.columns)
        if not all(
            mask is not None and mask.isdecimal() and len(mask) <= _MAX_MASK for mask in masks
        ):
            raise Undecodable(f"masks {masks!r}")
        bits = sum(int(mask or "") << (MASK_BITS * i) for i, mask in enumerate(masks))
        if not 0 < bits < 1 << width:
            raise Undecodable(f"masks {masks!r} of {width} columns")
        return frozenset(i for i in range(width) if bits >> i & 1)
