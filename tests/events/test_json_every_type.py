"""Events as JSON: every type of PostgreSQL goes there and back to an equal value."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from envelopes import envelope_differences
from everything import ROWS, create, literals, model
from hypothesis import given
from receiving import take
from selects import thing_class
from statements import run
from test_random_values import RANDOM, ROW

pytestmark = pytest.mark.kinds(3)


@pytest.mark.sample(4)
@pytest.mark.parametrize("declared", [None, sa.Text()], ids=["its own type", "text"])
def test_every_type_there_and_back(engine, url, kind, declared):
    """A table with a column of each built-in type: insert, update and delete come back from JSON
    with equal values, whether or not the model knows the columns' types."""
    values = literals(engine)
    create(engine, "every", values)
    Every = model(engine, "every", declared=declared, durable=True)
    Every.metadata.create_all(engine)
    names = ", ".join(f'"c {name}"' for name in values)
    rows = [f"({row}, {', '.join(of[row] for of in values.values())})" for row in range(ROWS)]
    with kind.listener(kind.engine(url), Every) as listener:
        run(
            engine,
            f"INSERT INTO every (id, {names}) VALUES {', '.join(rows)}",
            f"INSERT INTO every (id) VALUES ({ROWS})",
        )
        run(
            engine,
            f"UPDATE every SET ({names}) = (SELECT {names} FROM every AS o WHERE o.id = (every.id + 1) % {ROWS + 1})",
        )
        run(engine, "DELETE FROM every")
        for event in take(listener, 3 * (ROWS + 1)):
            assert envelope_differences(event, Every.metadata) == {}


def test_random_values_there_and_back(engine, url, kind):
    """Random values of many types, NaN, infinities and odd characters among them, come back equal;
    what JSON expresses is read by a program in another language as it stands."""
    Thing = thing_class({name: type_ for name, (type_, _) in RANDOM.items()})
    Thing.metadata.create_all(engine)
    table = Thing.__table__
    with kind.listener(kind.engine(url), Thing) as listener, engine.connect() as writer:

        @given(ROW, ROW)
        def check(first, second):
            for statement in (
                table.insert().values(id=1, **first),
                table.update().values(id=2, **second),
                table.delete(),
            ):
                writer.execute(statement)
            writer.commit()
            for event in take(listener, 3):
                assert envelope_differences(event, Thing) == {}
                written = json.loads(event.to_json()).get("new", {})
                assert written.get("word") == (event.new["word"] if written else None)

        check()
