"""Listeners of the older and of the newer model, while a migration adds, drops and retypes columns."""

from __future__ import annotations

from decimal import Decimal
from itertools import takewhile
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from order_versions import order_version, with_using
from receiving import take, until_end
from revisions import apply, autogenerate, catalog, differences, upgrade
from statements import run

from sa_pgnotify import (
    Change,
    Deleted,
    Gap,
    Inserted,
    Listener,
    Notification,
    NotifySpec,
    UndecodableValue,
    Updated,
    notify_on_change,
)
from sa_pgnotify.listening import intake

read_again = intake.read_again


ALL = NotifySpec(values="all")


UNDECODABLE = "undecodable"


CHANGES = (
    "INSERT INTO orders (id, {0}) VALUES (1, {1})",
    "UPDATE orders SET {0} = {2}",
    "DELETE FROM orders",
)


def shown(events: list[Any]) -> list[Any]:
    """Return the contents of events; a Gap, which is not a Change, is returned as it is."""
    said = {
        Inserted: lambda e: ("inserted", e.identity, values(e, "new")),
        Updated: lambda e: ("updated", e.identity, values(e, "old"), values(e, "new"), e.changed),
        Deleted: lambda e: ("deleted", e.identity, values(e, "old")),
    }
    return [said[type(e)](e) if isinstance(e, Change) else e for e in events]


def values(event: Change, which: str) -> dict[str, Any]:
    """The values before or after; only the identity's if there is one that this listener cannot
    decode."""
    try:
        return dict(getattr(event, which))
    except UndecodableValue as error:
        return {"id": event.identity[0], error.attribute: UNDECODABLE}


def expected(old: dict[str, Any], new: dict[str, Any], changed: set[str]) -> list[Any]:
    """An insert of ``old``, its update to ``new``, and its delete, as :func:`shown` shows them."""
    identity = {"id": 1}
    return [
        ("inserted", (1,), identity | old),
        ("updated", (1,), identity | old, identity | new, frozenset(changed)),
        ("deleted", (1,), identity | new),
    ]


def told_to_all(
    engine: sa.Engine, listeners: list[Listener], name: str, first: str, second: str
) -> list[list[Any]]:
    """Change a row in three transactions, and give what each listener said of it."""
    for statement in CHANGES:
        run(engine, statement.format(name, first, second))
    run(engine, "NOTIFY end_of_test")
    return [
        shown(list(takewhile(lambda event: not isinstance(event, Notification), listener)))
        for listener in listeners
    ]


def steps(
    engine: sa.Engine, old: Any, new: Any, name: str, written: list[tuple[str, str]]
) -> list[list[list[Any]]]:
    """Upgrade and downgrade under traffic. Return the events, by state of the database (before,
    upgraded, downgraded), of listeners in this order: old model, new model, both running since
    before the upgrade; then old and new, started in that state.

    :param written: the two values, as SQL, that are written to the column ``name``, by state; as
        many as states are wanted.
    """
    (old_class, old_metadata), (new_class, new_metadata) = old, new
    upgrade(engine, old_metadata)
    revision = autogenerate(engine, new_metadata)
    said = []
    with (
        Listener(engine, old_class, "end_of_test") as old_listener,
        Listener(engine, new_class, "end_of_test") as new_listener,
    ):
        for code, pair in zip((None, revision.upgrade, revision.downgrade), written, strict=False):
            if code is not None:
                apply(engine, with_using(code))
            with (
                Listener(engine, old_class, "end_of_test") as old_late,
                Listener(engine, new_class, "end_of_test") as new_late,
            ):
                everyone = [old_listener, new_listener, old_late, new_late]
                said.append(told_to_all(engine, everyone, name, *pair))
            assert [listener.stats.gaps for listener in everyone] == [0] * 4
    return said


def test_a_column_that_is_added(engine):
    """The older model gets events of the table as it knows it; an update of the new column alone is
    an event in which no column that it knows has changed."""
    old, new = order_version(status=sa.Text), order_version(status=sa.Text, note=sa.Integer)
    before, upgraded, downgraded = steps(engine, old, new, "status", [("'a'", "'b'")] * 3)
    without = expected({"status": "a"}, {"status": "b"}, {"status"})
    with_note = expected({"status": "a", "note": None}, {"status": "b", "note": None}, {"status"})
    assert before == downgraded == [without] * 4
    assert upgraded == [without, with_note] * 2


def test_an_update_of_a_column_that_only_the_newer_model_knows(engine):
    """Nothing is lost: the older model gets an event of the row, in which no column that it knows
    has changed."""
    old, new = order_version(status=sa.Text), order_version(status=sa.Text, note=sa.Integer)
    upgrade(engine, old[1])
    upgrade(engine, new[1])
    with (
        Listener(engine, old[0], "end_of_test") as old_listener,
        Listener(engine, new[0], "end_of_test") as new_listener,
    ):
        for_old, for_new = told_to_all(engine, [old_listener, new_listener], "note", "5", "6")
    assert for_old == expected({"status": None}, {"status": None}, set())
    assert for_new == expected({"status": None, "note": 5}, {"status": None, "note": 6}, {"note"})


def test_a_carried_column_that_is_dropped(engine):
    """The older model goes on without the column: ``old`` and ``new`` do not hold it, rather than
    hold a None that nobody wrote."""
    old, new = order_version(status=sa.Text, note=sa.Integer), order_version(status=sa.Text)
    before, upgraded, downgraded = steps(engine, old, new, "status", [("'a'", "'b'")] * 3)
    without = expected({"status": "a"}, {"status": "b"}, {"status"})
    with_note = expected({"status": "a", "note": None}, {"status": "b", "note": None}, {"status"})
    assert before == downgraded == [with_note, without] * 2
    assert upgraded == [without] * 4


RETYPED = {
    "integer to numeric": (
        sa.Integer,
        sa.Numeric,
        ("5", "6"),
        ("5.5", "6.5"),
        (Decimal("5.5"), Decimal("6.5")),
    ),
    "integer to text": (sa.Integer, sa.Text, ("5", "6"), ("'x'", "'y'"), ("x", "y")),
    "integer to text of digits": (sa.Integer, sa.Text, ("5", "6"), ("'5'", "'6'"), ("5", "6")),
    "text to integer": (sa.Text, sa.Integer, ("'5'", "'6'"), ("7", "8"), (7, 8)),
}


retyped = pytest.mark.parametrize(
    ("before", "after", "old_texts", "new_texts", "new_values"),
    RETYPED.values(),
    ids=RETYPED.keys(),
)


@retyped
def test_a_carried_column_that_is_retyped(engine, before, after, old_texts, new_texts, new_values):
    """One revision retypes the column and its trigger, in an order that works in the upgrade and in
    the downgrade."""
    (_, old), (_, new) = order_version(note=before), order_version(note=after)
    upgrade(engine, old)
    run(engine, f"INSERT INTO orders (id, note) VALUES (10, {old_texts[0]})")
    declared = catalog(engine)
    revision = autogenerate(engine, new)
    for code, metadata in ((revision.upgrade, new), (revision.downgrade, old)):
        apply(engine, with_using(code))
        assert differences(engine, metadata) == []
    assert catalog(engine) == declared


@retyped
def test_no_event_is_lost_while_a_column_is_retyped(
    engine, before, after, old_texts, new_texts, new_values
):
    """Every listener gets each change, without a gap, with the names of what changed, whether or
    not it can read the value."""
    said = steps(
        engine,
        order_version(note=before),
        order_version(note=after),
        "note",
        [old_texts, new_texts],
    )
    for events in (events for state in said for events in state):
        assert [(event[0], event[1]) for event in events] == [
            ("inserted", (1,)),
            ("updated", (1,)),
            ("deleted", (1,)),
        ]
        assert events[1][-1] == {"note"}


@pytest.mark.sample(2)
@retyped
@pytest.mark.parametrize("since", ["before", "after"])
def test_the_values_of_a_column_that_is_retyped(
    engine, before, after, old_texts, new_texts, new_values, since
):
    """Both models' listeners give the values that a SELECT through their model gives, whether they
    were started before the upgrade or after it."""
    old, new = order_version(note=before), order_version(note=after)
    _, upgraded = steps(engine, old, new, "note", [old_texts, new_texts])
    run(engine, f"INSERT INTO orders (id, note) VALUES (2, {new_texts[0]})")
    with engine.connect() as connection:
        assert [connection.scalar(sa.select(cls.note)) for cls, _ in (old, new)] == [
            new_values[0]
        ] * 2
    told_of = expected({"note": new_values[0]}, {"note": new_values[1]}, {"note"})
    assert (upgraded[:2] if since == "before" else upgraded[2:]) == [told_of] * 2


def test_what_a_listener_does_not_know_the_types_of_is_a_gap(engine):
    """A message that was sent between two alterations is not decoded with the types of the second:
    it is a gap."""
    versions = [order_version(note=type_)[1] for type_ in (sa.Text, sa.Integer, sa.Numeric)]
    upgrade(engine, versions[0])
    with (
        Listener(engine, versions[0].tables["orders"], "end_of_test", heartbeat=30.0) as listener,
        engine.connect() as connection,
    ):
        # As if the listener were slow: both alterations, and the change between them, come to it at
        # once.
        with connection.begin():
            for key, metadata in enumerate(versions[1:]):
                context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
                script = produce_migrations(context, metadata)
                with Operations.context(context) as op:
                    code = with_using(render_python_code(script.upgrade_ops))
                    exec(f"import sqlalchemy as sa\nif True:\n    {code}", {"op": op})
                connection.execute(
                    sa.text("INSERT INTO orders (id, note) VALUES (:id, 1)"), {"id": key}
                )
                connection.execute(sa.text("DELETE FROM orders"))
        events = until_end(engine, listener)
    gaps = [event for event in events if isinstance(event, Gap)]  # several in a row may be one
    assert gaps and events[: len(gaps)] == gaps
    assert [type(event) for event in events[len(gaps) :]] == [Inserted, Deleted]
    assert events[len(gaps)].new["note"] == Decimal(1)


def test_types_are_read_again_once(engine, monkeypatch):
    """If the types are unknown, as after a restore without comments, they are queried once and not
    for each message."""
    _, metadata = order_version(note=sa.Integer)
    upgrade(engine, metadata)
    run(engine, "COMMENT ON FUNCTION sa_pgnotify_orders() IS NULL")
    asked = []
    monkeypatch.setattr(intake, "read_again", lambda *given: asked.append(1) or read_again(*given))
    statements = [f"INSERT INTO orders (id, note) VALUES ({i}, {i})" for i in range(5)]
    with Listener(engine, metadata.tables["orders"], "end_of_test") as listener:
        for statement in statements:
            run(engine, statement)
        assert [event.new["note"] for event in until_end(engine, listener)] == list(range(5))
    assert len(asked) == 1


def test_reading_types_again_leaves_other_tables_alone(engine):
    """A table that is away for a moment, while another one's types are read again, is heard when it
    is back."""
    (_, before), (_, after) = order_version(), order_version(more=sa.Numeric)
    others = sa.Table("others", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    notify_on_change(others)
    upgrade(engine, before)
    others.metadata.create_all(engine)
    with Listener(engine, after.tables["orders"], others, "end_of_test") as listener:
        run(engine, "ALTER TABLE others RENAME TO away")
        apply(
            engine,
            autogenerate(
                engine,
                after,
                include_object=lambda o, name, *_: name == "orders" or name in ("id", "more"),
            ).upgrade,
        )
        run(engine, "INSERT INTO orders (id, more) VALUES (1, 1.5)")
        assert take(listener, 1)[0].new["more"] == Decimal("1.5")
        run(engine, "ALTER TABLE away RENAME TO others", "INSERT INTO others VALUES (7)")
        assert [event.identity for event in until_end(engine, listener)] == [(7,)]
