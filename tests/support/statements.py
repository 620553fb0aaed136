"""SQL that runs in the database of a test beside the package, as another program's would."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, text


def run(engine: Engine, *statements: str, **parameters: Any) -> None:
    """Run SQL statements in one transaction on a connection of their own, as another program
    would."""
    with engine.begin() as connection:
        for statement in statements:
            if parameters:
                connection.execute(text(statement), parameters)
            else:
                connection.exec_driver_sql(statement.replace("%", "%%"))


def rows(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    """Return what a query gives."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql.replace("%", "%%"))]


def install_extension(engine: Engine, name: str) -> None:
    """Install one of PostgreSQL's extensions, or skip the test if the server was built without
    it."""
    with engine.begin() as connection:
        if not connection.scalar(
            text("SELECT count(*) FROM pg_available_extensions WHERE name = :name"), {"name": name}
        ):
            pytest.skip(f"this server was built without the extension {name}")
        connection.exec_driver_sql(f"CREATE EXTENSION {name}")
