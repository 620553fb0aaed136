"""Every way from one state of a marker to another, by what autogenerate writes: there, the events that
are delivered there, and back."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from receiving import until_end
from revisions import Revision, apply, autogenerate, catalog, differences
from sampling import size
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import configure_mappers, registry
from statements import run

from sa_pgnotify import (
    Change,
    Listener,
    NotifyOnChange,
    NotifySpec,
    Updated,
    check,
    notify_on_change,
)
from sa_pgnotify.marking.options import OPERATIONS


@pytest.fixture(scope="module")
def database(admin: sa.Engine, server_url: sa.URL) -> Iterator[sa.Engine]:
    """An engine on one database for all tests of this module; each of them empties it first."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
    engine = sa.create_engine(server_url.set(database=name))
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def emptied(engine: sa.Engine) -> dict[str, Any]:
    """The catalog of the database, after all that a failed test may have left in it was dropped."""
    run(engine, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return catalog(engine)


TYPES: dict[str, tuple[Any, tuple[Any, Any, Any]]] = {
    "integer": (sa.Integer(), (5, 50, 60)),
    "bigint": (sa.BigInteger(), (5, 50, 60)),
    "numeric": (sa.Numeric(12, 2), (Decimal(5), Decimal(50), Decimal(60))),
    "varchar": (sa.String(20), ("new", "100% :a\t'", "")),
    "text": (sa.Text(), ("new", "100% :a\t'", "")),
    "kind": (sa.String(20), ("order", "rush", None)),
}
"""A column's type, its values in the first and in the second row, and what an UPDATE sets it to, if
it does."""


@dataclass(frozen=True)
class State:
    """A table, and how it is marked.

    :ivar columns: name to key of ``TYPES``; the first is the primary key. One of type ``kind`` is
        the discriminator of two mapped classes.
    :ivar spec: None if the table is not marked.
    """

    columns: dict[str, str]
    spec: NotifySpec | None = None
    table: str = "orders"

    @property
    def key(self) -> str:
        return next(iter(self.columns))

    @property
    def kind(self) -> str | None:
        return next((name for name, type_ in self.columns.items() if type_ == "kind"), None)

    def define(self, metadata: sa.MetaData) -> Any:
        """Add the table to ``metadata``, marked; gives what a listener listens to, or None."""
        key = sa.Column(
            self.key, TYPES[self.columns[self.key]][0], primary_key=True, autoincrement=False
        )
        others = [sa.Column(n, TYPES[t][0]) for n, t in self.columns.items() if n != self.key]
        table = sa.Table(self.table, metadata, key, *others)
        if self.spec is None:
            return None
        if self.kind is None:
            return notify_on_change(table, self.spec)
        mapped = registry(metadata=metadata)
        Order = type("Order", (NotifyOnChange,), {"__notify__": self.spec})
        mapped.map_imperatively(
            Order, table, polymorphic_on=table.c[self.kind], polymorphic_identity="order"
        )
        mapped.map_imperatively(
            type("Rush", (Order,), {}), inherits=Order, polymorphic_identity="rush"
        )
        configure_mappers()
        return Order

    def changes(self) -> Iterator[tuple[str, dict[str, Any] | None, dict[str, Any] | None]]:
        """What is done to the table: operation, old row, new row. Two rows come, one changes column
        by column, one goes."""
        if not self.columns:
            return
        one, two = ({n: TYPES[t][1][row] for n, t in self.columns.items()} for row in (0, 1))
        yield "insert", None, one
        yield "insert", None, two
        for name, type_ in self.columns.items():
            if name not in (self.key, self.kind):
                before, one = one, one | {name: TYPES[type_][1][2]}
                yield "update", before, one
        yield "update", one, one
        yield "delete", two, None
        yield "truncate", None, None

    def expected(self) -> list[tuple[Any, ...]]:
        """Return the expected events of :meth:`changes`, derived from the declaration."""
        if self.spec is None:
            return []
        events: list[tuple[Any, ...]] = []
        carried = (
            list(self.columns)
            if self.spec.values == "all"
            else [self.key, self.kind, *self.spec.values]
        )
        for operation, old, new in self.changes():
            row = new or old or {}
            changed = {n for n in self.columns if old and new and old[n] != new[n]}
            watched = set(self.spec.update_of or self.columns)
            if operation not in self.spec.operations or (
                operation == "update" and not changed & watched
            ):
                continue
            if operation != "truncate" and not self._is_told(old, new):
                continue
            entity = (
                self.table
                if self.kind is None
                else {"rush": "Rush"}.get(row.get(self.kind), "Order")
            )
            identity = (row[self.key],) if row else None
            values = [
                None if r is None else {n: v for n, v in r.items() if n in carried}
                for r in (old, new)
            ]
            events.append((operation, entity, identity, changed, *values))
        return events

    def _is_told(self, old: dict[str, Any] | None, new: dict[str, Any] | None) -> bool:
        absent = dict.fromkeys(self.columns)
        try:
            return (
                self.spec is None
                or self.spec.when is None
                or self.spec.when(*(SimpleNamespace(**(r or absent)) for r in (old, new)))
            )
        except TypeError:  # NULL is not greater than anything
            return False

    def statements(self) -> Iterator[str]:
        """:meth:`changes` as SQL text; not with parameters, since SQLAlchemy 2.0 gives columns " "
        and "_" the same one."""
        dialect = postgresql.dialect(paramstyle="named")  # which leaves percent signs as they are
        rows = sa.table(self.table, *(sa.column(n, TYPES[t][0]) for n, t in self.columns.items()))
        for operation, old, new in self.changes():
            if operation == "truncate":
                yield f"TRUNCATE {dialect.identifier_preparer.quote(self.table)}"
                continue
            this = rows.c[self.key] == (new or old or {})[self.key]
            statement: Any = {
                "insert": sa.insert(rows).values(new or {}),
                "update": sa.update(rows).where(this).values(new or {}),
                "delete": sa.delete(rows).where(this),
            }[operation]
            yield str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))

    def heard(self, engine: sa.Engine, source: Any) -> list[tuple[Any, ...]]:
        """Return the events of :meth:`changes`, in the form of :meth:`expected`; for a table that
        is not marked, the notifications on its channels."""
        sources = [source] if self.spec else ["public.orders", CHANNEL]
        with Listener(engine, *sources, "end_of_test") as listener:
            run(engine, *self.statements())
            return [summary(event) for event in until_end(engine, listener)]


def summary(event: Any) -> tuple[Any, ...]:
    if not isinstance(event, Change):
        return (event,)
    operation = {
        "Inserted": "insert",
        "Updated": "update",
        "Deleted": "delete",
        "Truncated": "truncate",
    }[type(event).__name__]
    entity = getattr(event.entity, "__name__", None) or event.table.name
    changed = set(event.changed) if isinstance(event, Updated) else set()
    values = [
        dict(row) if (row := getattr(event, name, None)) is not None else None
        for name in ("old", "new")
    ]
    return (operation, entity, event.identity, changed, *values)


def reach(engine: sa.Engine, states: Iterable[State]) -> tuple[Revision, list[Any]]:
    """Bring the database to ``states`` by what autogenerate writes, and see that nothing is left to
    do; also gives what to listen to."""
    metadata = sa.MetaData()
    sources = [state.define(metadata) for state in states if state.columns]
    revision = autogenerate(engine, metadata)
    # As a developer does: PostgreSQL does not cast text to a number by itself.
    number = r"op.alter_column\([^,]+, '(\w+)',\s+existing_type=sa\.(?i:TEXT)\(\),(?=\s+type_=sa\.(?i:INTEGER|NUMERIC)\()"
    edited = [
        re.sub(number, r"\g<0> postgresql_using='\1::numeric',", code)
        for code in (revision.upgrade, revision.downgrade)
    ]
    revision = Revision(*edited)
    apply(engine, revision.upgrade)
    assert differences(engine, metadata) == [], revision.upgrade
    assert check(engine, metadata) == [], revision.upgrade
    return revision, sources


CHANNEL = "orders' 100% :changes\t"


PLAIN = {"id": "integer", "status": "varchar", "qty": "integer"}


STATES = {
    "absent": State({}),
    "unmarked": State(PLAIN),
    "default": State(PLAIN, NotifySpec()),
    "all values": State(PLAIN, NotifySpec(values="all")),
    "some values": State(PLAIN, NotifySpec(values=("status",))),
    "update_of": State(PLAIN, NotifySpec(update_of=("qty",))),
    "operations": State(PLAIN, NotifySpec(operations=("insert", "update"))),
    "when": State(PLAIN, NotifySpec(when=lambda old, new: new.qty > 10)),
    "channel": State(PLAIN, NotifySpec(channel=CHANNEL)),
    "every option": State(
        PLAIN,
        NotifySpec(
            operations=("update", "delete", "truncate"),
            values=("qty", "status"),
            update_of=("status",),
            when=lambda old, new: old.status == "new",
            channel=CHANNEL,
        ),
    ),
    "column added": State(PLAIN | {"note": "text"}, NotifySpec(values="all")),
    "retyped to numeric": State(PLAIN | {"qty": "numeric"}, NotifySpec(values=("qty",))),
    "retyped to text": State(PLAIN | {"qty": "text"}, NotifySpec(values="all")),
    "column dropped": State({"id": "integer", "qty": "integer"}, NotifySpec(values="all")),
    "classes": State(PLAIN | {"kind": "kind"}, NotifySpec(values=("qty",))),
}


@pytest.mark.sample(18)
@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("before", STATES)
def test_every_pair_of_states(database, before, after):
    """From any state to any other: nothing but what is needed in the script, nothing left to do,
    exactly the events declared, and all the way back."""
    empty = emptied(database)
    first, _ = reach(database, [STATES[before]])
    there = catalog(database)
    second, sources = reach(database, [STATES[after]])
    assert STATES[after].heard(database, next(iter(sources), None)) == STATES[after].expected()

    if before == after:
        assert "op." not in second.upgrade + second.downgrade
    elif STATES[before].columns == STATES[after].columns:
        marked = STATES[before].spec is not None, STATES[after].spec is not None
        proposed = {(False, True): "create", (True, True): "alter", (True, False): "drop"}[marked]
        assert re.findall(r"op\.(\w+)\(", second.upgrade) == [f"{proposed}_notify_triggers"]

    apply(database, second.downgrade)
    assert catalog(database) == there
    apply(database, first.downgrade)
    assert catalog(database) == empty


def short(name: str) -> str:
    """As much of ``name`` as PostgreSQL takes."""
    return name.encode()[:63].decode(errors="ignore")


characters = st.sampled_from(
    [*"aZ_1 .,;:%'\"\\$@?!/-()[]{}\t\n", "%(a)s", "$$", "--", "ü", "名", "🎉", "\u200b", "e\u0301"]
)


texts = st.lists(characters, min_size=1, max_size=6).map("".join)


names = st.builds(lambda text, times: short(text * times), texts, st.sampled_from([1, 1, 1, 63]))


# SQLAlchemy itself takes "a\n" for a name that needs no quotes; PostgreSQL finds no name for the
# array type of a table "___..." of 63.
names = names.filter(lambda name: not name.endswith("\n") and name.strip("_"))


@st.composite
def markers(draw: st.DrawFn, columns: dict[str, str]) -> NotifySpec | None:
    some = st.lists(st.sampled_from(sorted(columns)), unique=True).map(tuple)
    if draw(st.integers(0, 3)) == 0:
        return None
    when = None
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(columns)))
        value = TYPES[columns[name]][1][draw(st.integers(0, 1))]
        when = lambda old, new: getattr(new, name) == value  # noqa: E731
    return NotifySpec(
        operations=draw(st.lists(st.sampled_from(OPERATIONS), min_size=1, unique=True).map(tuple)),
        values=draw(some | st.just("all")),
        update_of=draw(some),
        channel=draw(st.none() | names),
        when=when,
    )


@st.composite
def sequences(draw: st.DrawFn) -> list[list[State]]:
    """States of a database: the same few names of tables and columns again and again; their types
    only as far as PostgreSQL casts them."""
    tables = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    key, number, text = draw(st.lists(names, min_size=3, max_size=3, unique=True))

    def state(table: str) -> State | None:
        columns = {key: "integer"}
        for name, types in (number, ["integer", "bigint", "numeric"]), (text, ["varchar", "text"]):
            if draw(st.integers(0, 3)):
                columns[name] = draw(st.sampled_from(types))
        return State(columns, draw(markers(columns)), table) if draw(st.integers(0, 5)) else None

    return [
        [s for table in tables if (s := state(table)) is not None]
        for _ in range(draw(st.integers(2, 4)))
    ]


@pytest.mark.timeout(400)  # a failure takes time to be made smaller
@settings(
    max_examples=size(12, 5), phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
)
@given(sequences())
@example([[State({"id": "integer"}, NotifySpec(), "1\n")], []])
def test_sequences_of_states(database, sequence):
    """For any sequence of states, whatever the names: each step leaves nothing to do and publishes
    what is declared, and each step back restores the former state."""
    catalogs, revisions = [emptied(database)], []
    for states in sequence:
        revision, sources = reach(database, states)
        for state, source in zip(states, sources):
            if state.spec is not None:
                assert state.heard(database, source) == state.expected()
        revisions.append(revision)
        catalogs.append(catalog(database))
    while revisions:
        assert catalog(database) == catalogs.pop()
        apply(database, revisions.pop().downgrade)
    assert catalog(database) == catalogs.pop()
