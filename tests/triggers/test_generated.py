"""Generated columns, in each form that PostgreSQL and SQLAlchemy have: an event has what a SELECT
gives, and says that they changed."""

from __future__ import annotations

import decimal
from typing import Any

import pytest
import sqlalchemy as sa
from receiving import take
from selects import differences, selected
from sqlalchemy import Computed, Engine, text
from sqlalchemy.orm import DeclarativeBase
from statements import run

from sa_pgnotify import Inserted, NotifyOnChange, NotifySpec, Updated, check

EXPRESSIONS: dict[str, tuple[str, str, Any]] = {
    "gross": ("numeric(10,2)", "price * 1.19", sa.Numeric(10, 2)),
    "whole": ("integer", "price * 1.19", sa.Integer()),
    "short": ("char(5)", "lower(left(title, 3))", sa.CHAR(5)),
    "size": ("bigint", "length(title)", sa.BigInteger()),
}
"""Column to its type, its expression, and SQLAlchemy's type; PostgreSQL casts each expression to
the column's type."""
SLUG = ("text", "slugify(title)", sa.Text())
DECLARED = {
    "persisted": lambda sql: [Computed(sql, persisted=True)],
    "virtual": lambda sql: [Computed(sql, persisted=False)],
    "not said": lambda sql: [Computed(sql)],
    "fetched": lambda sql: [sa.FetchedValue()],
    "not declared": None,
}
"""What the model says of the columns."""


def version(engine: Engine) -> int:
    with engine.connect() as connection:
        return (
            int(connection.scalar(text("SELECT current_setting('server_version_num')")) or 0)
            // 10_000
        )


def pages(engine: Engine, base: Any, table: str, form: str, declared: str, *, durable: bool) -> Any:
    """A mapped class of a table that is there already, whose generated columns are of one form,
    whatever the model says of them."""
    # a virtual one uses no function of a user's
    expressions = EXPRESSIONS | ({"slug": SLUG} if form == "STORED" else {})
    columns = ", ".join(
        f"{name} {type_} GENERATED ALWAYS AS ({sql}) {form}"
        for name, (type_, sql, _) in expressions.items()
    )
    run(
        engine,
        f"CREATE TABLE {table} (id int PRIMARY KEY, price numeric(10,2), title text, {columns})",
    )
    body: dict[str, Any] = {
        "__tablename__": table,
        "__notify__": NotifySpec(values="all", durable=durable),
    }
    body |= {
        "id": sa.Column(sa.Integer, primary_key=True),
        "price": sa.Column(sa.Numeric(10, 2)),
        "title": sa.Column(sa.Text),
    }
    said = DECLARED[declared]
    if said is not None:
        body |= {
            name: sa.Column(type_, *said(sql)) for name, (_, sql, type_) in expressions.items()
        }
    return type(f"Page_{table}", (NotifyOnChange, base), body)


@pytest.mark.usefixtures("for_each")
@pytest.mark.sample(2)
@pytest.mark.kinds(1)
@pytest.mark.parametrize("form", ["STORED", "VIRTUAL"])
def test_generated_columns(engine, url, kind, form):
    """Whether a generated column is stored or computed when it is read, the database says, not the
    model: of each declaration, values before and after are those of a SELECT, the function may be
    in any schema, and an update says that it changed."""
    if form == "VIRTUAL" and version(engine) < 18:
        pytest.skip("PostgreSQL has virtual generated columns from 18 on")
    run(
        engine,
        "CREATE FUNCTION slugify(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT lower(replace($1, ' ', '-')) $$",
    )

    class Base(DeclarativeBase):
        pass

    reader = kind.engine(url)
    entities = {}
    for declared in DECLARED:
        for durable in (False, True):
            table = f"p{len(entities)}"
            entities[table] = pages(engine, Base, table, form, declared, durable=durable)
    Base.metadata.create_all(engine)
    assert check(engine, Base.metadata) == []
    with kind.listener(reader, *entities.values()) as listener:
        run(
            engine,
            *(
                f"INSERT INTO {table} VALUES (1, 9.99, 'Hello World'), (2, 0.5, NULL), (3, 1, 'X y')"
                for table in entities
            ),
        )
        inserted = take(listener, 3 * len(entities))
        seen = {table: selected(kind, reader, entity) for table, entity in entities.items()}
        run(
            engine,
            *(
                f"UPDATE {table} SET price = price + 0.01, title = title || ' !' WHERE id < 3"
                for table in entities
            ),
        )
        run(
            engine, *(f"UPDATE {table} SET title = upper(title) WHERE id = 3" for table in entities)
        )
        updated = take(listener, 3 * len(entities))
        after = {table: selected(kind, reader, entity) for table, entity in entities.items()}
        run(engine, *(f"DELETE FROM {table}" for table in entities))
        deleted = take(listener, 3 * len(entities))
    for table, entity in entities.items():
        delivered = [
            sorted((e for e in events if e.table is entity.__table__), key=lambda e: e.identity)
            for events in (inserted, updated, deleted)
        ]
        assert differences(delivered[0], "new", seen[table]) == {}
        assert differences(delivered[1], "old", seen[table]) == {}
        assert differences(delivered[1], "new", after[table]) == {}
        assert differences(delivered[2], "old", after[table]) == {}
        generated = [name for name in EXPRESSIONS if hasattr(entity, name)]
        assert delivered[1][0].changed - {"slug"} == {"price", "title", *generated} - (
            {"whole", "short"} & set(generated)
        )
        assert delivered[1][2].changed <= {
            "title",
            "slug",
        }  # 'X y' is 'x y' for both, in lower case


@pytest.mark.filterwarnings("ignore:Computed column pages.gross is being created as 'STORED'")
@pytest.mark.parametrize("persisted", [None, True, False])
def test_generated_columns_that_create_all_makes(engine, persisted):
    """Where SQLAlchemy creates the generated column, in the form that its version and the server's
    know, the event has its value."""
    from sa_pgnotify import Listener

    class Base(DeclarativeBase):
        pass

    class Page(NotifyOnChange, Base):
        __tablename__ = "pages"
        __notify__ = NotifySpec(values="all")
        id = sa.Column(sa.Integer, primary_key=True)
        price = sa.Column(sa.Numeric(10, 2))
        gross = sa.Column(sa.Numeric(10, 2), Computed("price * 1.19", persisted=persisted))

    try:
        Base.metadata.create_all(engine)
    except (sa.exc.DBAPIError, sa.exc.CompileError):
        assert persisted is False
        pytest.skip("this server, or this SQLAlchemy, has no virtual generated columns")
    with Listener(engine, Page) as listener:
        run(engine, "INSERT INTO pages VALUES (1, 9.99)", "UPDATE pages SET price = 20")
        inserted, updated = take(listener, 2)
    assert (type(inserted), type(updated)) == (Inserted, Updated)
    assert inserted.new["gross"] == updated.old["gross"] == decimal.Decimal("11.89")
    assert (updated.new["gross"], updated.changed) == (decimal.Decimal("23.80"), {"price", "gross"})
