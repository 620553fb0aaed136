"""The drivers that can listen: the table that names them, and how the one of an engine is found."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from sqlalchemy import Engine

from ..errors import ListenUnavailable

__all__ = ["DRIVERS", "Driver", "module_of"]


class Driver(NamedTuple):
    """A driver that can listen. The module of its name in this folder adapts it.

    :ivar packages: the distributions that install it.
    :ivar blocking: whether ``create_engine()`` uses it.
    :ivar asyncio: whether ``create_async_engine()`` uses it.
    """

    packages: tuple[str, ...]
    blocking: bool
    asyncio: bool


DRIVERS = {
    "psycopg2": Driver(("psycopg2", "psycopg2-binary"), blocking=True, asyncio=False),
    "psycopg": Driver(("psycopg",), blocking=True, asyncio=True),
    "asyncpg": Driver(("asyncpg",), blocking=False, asyncio=True),
}
"""By the name that SQLAlchemy's URLs give them; those before others are preferred."""


def module_of(engine: Engine) -> Any:
    """Return the module that adapts the driver of an engine.

    :raises ListenUnavailable: if it is not one of :data:`DRIVERS`.
    """
    dialect = engine.dialect
    usable = [
        name
        for name, driver in DRIVERS.items()
        if (driver.asyncio if dialect.is_async else driver.blocking)
    ]
    if dialect.name != "postgresql" or dialect.driver not in usable:
        urls = " or ".join(f"postgresql+{name}://" for name in usable)
        raise ListenUnavailable(
            "driver",
            f"cannot listen through {dialect.name}+{dialect.driver}",
            f"Make the engine from a {urls} URL",
        )
    return import_module(f".{dialect.driver}", __package__)
