"""Every built-in type of PostgreSQL: an event's values are what a SELECT through the ORM gives, and
no setting of the writer's session changes them. Where a SELECT fails, asking for the event's value
fails as well."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from everything import ROWS, create, literals, model
from receiving import take
from selects import differences, same, selected
from statements import run

from sa_pgnotify import Deleted, Inserted, Updated


@pytest.mark.sample(8)
@pytest.mark.usefixtures("for_each")
@pytest.mark.kinds(3)
@pytest.mark.parametrize("declared", [None, sa.Text()], ids=["its own type", "text"])
def test_every_type(engine, url, kind, declared):
    """A table with a column of each type comes through INSERT, UPDATE and DELETE, of ephemeral and
    durable entities, as it is selected: where the model has the type that SQLAlchemy reflects, and
    where it says that all of it is text."""
    values = literals(engine)
    reader = kind.engine(url)
    tables = {"every": False, "kept": True}
    entities = {}
    for table, durable in tables.items():
        create(engine, table, values)
        entities[table] = model(engine, table, declared=declared, durable=durable)
        entities[table].metadata.create_all(engine)
    names = ", ".join(f'"c {name}"' for name in values)
    rows = [f"({row}, {', '.join(of[row] for of in values.values())})" for row in range(ROWS)]
    delivered: dict[str, list[list[Any]]] = {table: [] for table in tables}
    seen: list[list[dict[str, Any]]] = []
    statements = [
        [
            f"INSERT INTO {{0}} (id, {names}) VALUES {', '.join(rows)}",
            f"INSERT INTO {{0}} (id) VALUES ({ROWS})",
        ],
        [
            f"UPDATE {{0}} SET ({names}) = (SELECT {names} FROM {{0}} AS o WHERE o.id = ({{0}}.id + 1) % {ROWS + 1})"
        ],
        ["DELETE FROM {0}"],
    ]
    with kind.listener(reader, *entities.values()) as listener:
        for step in statements:
            run(
                engine, *(statement.replace("{0}", table) for table in tables for statement in step)
            )
            events = take(listener, 2 * (ROWS + 1))
            for table, entity in entities.items():
                own = [
                    event for event in events if getattr(event, "table", None) is entity.__table__
                ]
                delivered[table].append(sorted(own, key=lambda event: event.identity))
            seen.append(selected(kind, reader, entities["every"]))  # both tables hold the same
            assert [event for event in events if not hasattr(event, "table")] == []
    before, after, _ = seen
    for table in tables:
        inserted, updated, deleted = delivered[table]
        assert [{type(event) for event in events} for events in delivered[table]] == [
            {Inserted},
            {Updated},
            {Deleted},
        ]
        assert differences(inserted, "new", before) == {}
        assert differences(updated, "old", before) == {}
        assert differences(updated, "new", after) == {}
        assert differences(deleted, "old", after) == {}
        for event, old, new in zip(updated, before, after):
            assert event.changed >= {
                name
                for name in old
                if old[name] is not new[name] and not same(old[name], new[name])
            }
