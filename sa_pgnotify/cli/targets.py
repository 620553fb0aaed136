"""Find the models that TARGET names: ``package.module:Base``, a MetaData, a registry, a Table, or
one class.

There are many ways to get it wrong: a file's path, no colon, a module that does not exist or fails,
a name that it does not have, an object that is not a model. Each has its own message with its own
fix.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from sqlalchemy import MetaData, Table, inspect
from sqlalchemy.orm import Mapper, registry

from ..log.tables import ChangeLog, find_log
from ..marking.sources import Wanted, expand
from ..marking.spec import marking_of
from .errors import CommandError

__all__ = ["OptionalTargetNames", "Target", "TargetName", "TargetNames", "of_metadata", "target"]

_HELP = "Where the models are: package.module:Base, a MetaData, or one class."
TargetName = Annotated[str, typer.Argument(metavar="TARGET", help=_HELP)]
TargetNames = Annotated[list[str], typer.Argument(metavar="TARGET...", help=_HELP)]
OptionalTargetNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET", help="Where the models are; default: what the database has."),
]


@dataclass(frozen=True, slots=True)
class Target:
    """The models that a TARGET names.

    :ivar name: the TARGET as it was typed.
    :ivar source: the object that it names, as a Listener takes it.
    :ivar metadata: contains the object's tables.
    :ivar tables: the marked tables, by name.
    :ivar entities: the marked classes, and marked tables without a class, by name.
    """

    name: str
    source: Any
    metadata: MetaData
    tables: dict[str, Table]
    entities: dict[str, Any]

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole MetaData, not one class or table."""
        return isinstance(self.source, MetaData) or "registry" in vars(self.source)

    @property
    def log(self) -> ChangeLog | None:
        """The change log that the marked tables write to; None if none of them is durable."""
        durable = any(
            (marking := marking_of(t)) is not None and marking.durable for t in self.tables.values()
        )
        return find_log(self.metadata) if durable else None

    def only(self, names: Iterable[str]) -> list[Any]:
        """Return the entities with ``names``, or the whole source if no name is given.

        :raises CommandError: if there is no such entity.
        """
        chosen = list(names)
        for name in chosen:
            if name not in self.entities:
                raise CommandError(
                    f"{self.name} has no marked entity {name!r}; it has {', '.join(sorted(self.entities))}"
                )
        return [self.entities[name] for name in chosen] or [self.source]


def target(name: str) -> Target:
    """Import and return the models that ``name`` names.

    :raises CommandError: if ``name`` does not name models.
    :raises NotifyConfigError: if none of them is marked, or a declaration cannot work.
    """
    if "://" in name:
        raise CommandError(
            "TARGET is package.module:Base, the place of the models: a URL is given as --url URL"
        )
    module_name, _, path = name.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        dotted = ".".join(Path(module_name).with_suffix("").parts)
        raise CommandError(
            f"{module_name!r} is a file: give the module's name, as {dotted.strip('.') or 'package.module'}:{path or 'Base'}"
        )
    module = _imported(module_name)
    found: Any = module
    for part in filter(None, path.split(".")):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CommandError(f"{module_name} has no {path!r}. {_advice(module)}") from None
    if isinstance(found, ModuleType):
        raise CommandError(f"{name} is a module: name the models in it. {_advice(module)}")
    if isinstance(found, registry):
        found = found.metadata
    if not _holds_models(found):
        raise CommandError(
            f"{name} is {_described(found)}, not a declarative base, a MetaData, a Table or a mapped class. {_advice(module)}"
        )
    return _target(name, found)


def of_metadata(name: str, metadata: MetaData) -> Target:
    """Return the marked tables of a MetaData as a target.

    :raises NotifyConfigError: if no table is marked.
    """
    return _target(name, metadata)


def _target(name: str, source: Any) -> Target:
    wanted = expand([source])
    metadata = source if isinstance(source, MetaData) else source.metadata
    return Target(name, source, metadata, {t.fullname: t for t in wanted.tables}, _entities(wanted))


def _entities(wanted: Wanted) -> dict[str, Any]:
    entities: dict[str, Any] = {}
    for table, interest in wanted.tables.items():
        if interest.mapper is None:
            entities[table.fullname] = table
        for class_ in interest.classes:
            mapper: Mapper[Any] = inspect(class_)
            below = (m.class_ for m in mapper.self_and_descendants)
            entities.update({c.__name__: c for c in below if interest.accepts(c)})
    return entities


def _imported(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as python -m does
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise CommandError(
                f"there is no module {error.name!r}: it is neither installed nor in {here}. TARGET is package.module:Base"
            ) from error
        raise CommandError(
            f"{name} cannot be imported, because there is no module {error.name!r}: install what it needs"
        ) from error
    except (Exception, SystemExit) as error:  # anything that the user's module may raise
        if not name.strip(".") or name.startswith("."):
            raise CommandError(
                f"{name!r} is not the name of a module. TARGET is package.module:Base"
            ) from error
        raise CommandError(
            f"{name} cannot be imported: {type(error).__name__}: {error}. --debug shows where"
        ) from error


def _holds_models(found: Any) -> bool:
    if isinstance(found, MetaData | Table):
        return True
    return isinstance(found, type) and isinstance(getattr(found, "metadata", None), MetaData)


def _described(found: Any) -> str:
    if isinstance(found, type):
        return f"the unmapped class {found.__name__}"
    if callable(found):
        return "a function"
    return f"of type {type(found).__name__}"


def _advice(module: ModuleType) -> str:
    """Return the names in a module that can be a TARGET, the most general first."""
    bases: list[str] = []
    others: list[str] = []
    for name, value in vars(module).items():
        if not name.startswith("_") and _holds_models(value):
            (bases if isinstance(value, MetaData) or "registry" in vars(value) else others).append(
                name
            )
    candidates = [f"{module.__name__}:{name}" for name in (*bases, *others)][:4]
    return (
        f"Give {' or '.join(candidates)}"
        if candidates
        else f"{module.__name__} has no declarative base and no MetaData: give the module that has one"
    )
