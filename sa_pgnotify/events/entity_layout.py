"""How the fields of a row map to the attributes of an entity.

It is found once for each pair of a message's layout and an entity, and then serves every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Mapper
from sqlalchemy.types import TypeEngine

from .json_columns import Plan

__all__ = ["EntityLayout"]


@dataclass(frozen=True, slots=True, eq=False)
class EntityLayout:
    """How the rows of one layout become events of one entity.

    :ivar entity: the mapped class; the ``Table`` for Core.
    :ivar mapper: the mapper of the class; None for Core.
    :ivar names: the attribute name of each column of the layout; None for a column that the entity
        lacks.
    :ivar key: for each column of the identity, the index of its field.
    :ivar places: for each carried column that the entity has, the index of its field.
    :ivar positions: for each attribute name, its index in ``places``.
    :ivar types: for each attribute name, the type of its column.
    :ivar accepted: whether events of the entity are wanted.
    :ivar heads: what the JSON of its events begins with, by their kind, once it has been made; and
        ``plans`` how rows are written, by the classes of their values.
    """

    entity: Any
    mapper: Mapper[Any] | None
    names: tuple[str | None, ...]
    key: tuple[int, ...]
    places: tuple[int, ...]
    positions: Mapping[str, int]
    accepted: bool
    types: Mapping[str, TypeEngine[Any]]
    heads: dict[str, str] = field(default_factory=dict)
    plans: dict[tuple[type, ...], Plan | None] = field(default_factory=dict)

    @property
    def attributes(self) -> tuple[str, ...]:
        """The names of the attributes whose values are carried."""
        return tuple(self.positions)

    @property
    def subject(self) -> str:
        """The name of the entity in errors."""
        return str(self.entity.fullname if self.mapper is None else self.entity.__name__)
