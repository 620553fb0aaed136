"""One value that cannot be decoded spoils only itself: the event comes, and its other values are
there."""

from __future__ import annotations

import copy
import io
import json
import pickle
from typing import Any

import pytest
import sqlalchemy as sa
from receiving import take
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run

from sa_pgnotify import (
    Deleted,
    Gap,
    Inserted,
    NotifyOnChange,
    NotifySpec,
    UndecodableValue,
    Updated,
    ValuesNotCarried,
)
from sa_pgnotify.testing import AsyncCapturedChanges, CapturedChanges

pytestmark = pytest.mark.kinds(3)

BAD = "0044-03-15 BC"
"""A date that PostgreSQL takes, and no driver reads."""


class Fussy(sa.TypeDecorator[str]):
    """Reads any text but one."""

    impl = sa.Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value == "refused":
            raise LookupError("this program does not read it")
        return value


def persons(engine: Any, *, durable: bool = False, **more: Any) -> Any:
    class Base(DeclarativeBase):
        pass

    class Person(NotifyOnChange, Base):
        __tablename__ = "persons"
        __notify__ = NotifySpec(values="all", durable=durable)
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        name: Mapped[str | None]
        birthday: Mapped[Any] = mapped_column("born", sa.Date, nullable=True)
        motto: Mapped[str | None] = mapped_column(Fussy)
        score: Mapped[int | None]
        span: Mapped[Any] = mapped_column(pg.INT4RANGE, nullable=True)

    Base.metadata.create_all(engine)
    return Person


def insert(count: int, bad: int) -> str:
    """SQL that inserts rows, one of which has a date that cannot be read."""
    return (
        "INSERT INTO persons (id, name, born, motto, score, span)"
        f" SELECT i, 'n' || i, CASE i WHEN {bad} THEN '{BAD}' ELSE '2024-02-29'::date END, 'm', i * 10, int4range(i, i + 1)"
        f" FROM generate_series(1, {count}) AS i"
    )


def check_row(values: Any, number: int, error_of: type[Exception]) -> None:
    """What can be read of a row is there, one at a time; what cannot raises, and says what and
    why."""
    assert (values["id"], values["name"], values["motto"], values["score"]) == (
        number,
        f"n{number}",
        "m",
        number * 10,
    )
    assert values["span"].lower == number
    for _ in range(2):  # and again
        with pytest.raises(UndecodableValue) as raised:
            values["birthday"]
    error = raised.value
    assert (error.subject, error.attribute, error.column, error.text) == (
        "Person",
        "birthday",
        "born",
        BAD,
    )
    assert isinstance(error.__cause__, error_of)
    for said in (
        "Person.birthday",
        "born",
        BAD,
        type(error.__cause__).__name__,
        str(error.__cause__).partition("\n")[0][:60],
    ):
        assert said in str(error)


def select_error(kind: Any, engine: Any, entity: Any) -> type[Exception]:
    """What a SELECT of the date raises, the driver's own."""

    def load(connection: Any) -> type[Exception]:
        with pytest.raises(Exception) as raised:
            connection.execute(
                sa.select(entity.birthday).where(entity.birthday < sa.text("'0001-01-01'"))
            ).all()
        original = getattr(raised.value, "orig", None) or raised.value
        return (
            type(getattr(original, "__cause__", None) or original)
            if kind.driver == "asyncpg"
            else type(original)
        )

    return kind.select(engine, load)


@pytest.mark.sample(2)
@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("durable", [False, True], ids=["ephemeral", "durable"])
def test_the_other_values_can_be_read(engine, url, kind, durable, count):
    """Of an event with a date that the driver cannot read, all else is there before and after; the
    date fails as in a SELECT; the other rows of the statement are whole."""
    Person = persons(engine, durable=durable)
    reader = kind.engine(url)
    bad = (count + 1) // 2
    with kind.listener(reader, Person) as listener:
        run(engine, insert(count, bad))
        inserted, error = take(listener, count), select_error(kind, reader, Person)
        run(engine, "UPDATE persons SET score = score + 1, born = born + 1")
        updated = take(listener, count)
        run(engine, "UPDATE persons SET score = score - 1, born = born - 1", "DELETE FROM persons")
        deleted = take(listener, 2 * count)[count:]
    for events, kind_of, side in (
        (inserted, Inserted, "new"),
        (deleted, Deleted, "old"),
        (updated, Updated, "old"),
    ):
        assert [type(event) for event in events] == [kind_of] * count
        assert [event.identity for event in events] == [(number,) for number in range(1, count + 1)]
        for number, event in enumerate(events, 1):
            if number == bad:
                check_row(getattr(event, side), number, error)
            else:
                assert dict(getattr(event, side))["birthday"].isoformat() == "2024-02-29"
    event = updated[bad - 1]
    assert (event.changed, event.new["score"], event.old["score"]) == (
        {"score", "birthday"},
        bad * 10 + 1,
        bad * 10,
    )
    with pytest.raises(UndecodableValue, match="BC"):
        event.new["birthday"]


def test_what_a_type_of_the_program_refuses(engine, url, kind):
    """What a TypeDecorator raises is the cause of the error, and spoils the other values as little
    as a driver's error."""
    Person = persons(engine)
    with kind.listener(kind.engine(url), Person) as listener:
        run(
            engine,
            "INSERT INTO persons (id, motto, score) VALUES (1, 'refused', 5), (2, 'read', 6)",
        )
        one, two = take(listener, 2)
    assert (one.new["score"], two.new["motto"]) == (5, "read")
    with pytest.raises(
        UndecodableValue, match=r"Person\.motto.*LookupError: this program does not read it"
    ) as raised:
        one.new["motto"]
    assert isinstance(raised.value.__cause__, LookupError)
    assert raised.value.text == "refused"


def test_an_identity_or_a_discriminator_that_cannot_be_decoded(engine, url, kind):
    """Where the identity cannot be decoded, or which class it is, that row is a Gap, and the rows
    beside it are events."""

    class Base(DeclarativeBase):
        pass

    class Day(NotifyOnChange, Base):
        __tablename__ = "days"
        __notify__ = NotifySpec(values="all")
        __mapper_args__ = {"polymorphic_on": "sort", "polymorphic_identity": "plain"}
        day: Mapped[Any] = mapped_column(sa.Date, primary_key=True)
        sort: Mapped[str] = mapped_column(Fussy)

    Base.metadata.create_all(engine)
    with kind.listener(kind.engine(url), Day) as listener:
        run(
            engine,
            f"INSERT INTO days VALUES ('2024-01-01', 'plain'), ('{BAD}', 'plain'), ('2024-01-03', 'refused'), ('2024-01-04', 'plain')",
        )
        first, no_key, no_class, last = take(listener, 4)
        run(engine, f"UPDATE days SET day = '2024-01-02' WHERE day = '{BAD}'")
        (moved,) = take(listener, 1)
    assert [event.identity[0].day for event in (first, last, moved)] == [1, 4, 2]
    assert [(type(event), event.reason) for event in (no_key, no_class)] == [
        (Gap, "undecodable")
    ] * 2
    assert "days.day" in no_key.detail
    assert "days.sort" in no_class.detail
    with pytest.raises(UndecodableValue, match=r"Day\.day"):
        moved.previous_identity
    with Session(engine) as session:
        moved.expire(session)  # the session cannot hold an object whose key it cannot read


def test_within_a_transaction_that_is_rolled_back(engine, url, kind):
    """What a test captures of its own transaction has the readable values, too, by each driver."""
    Person = persons(engine)
    reader = kind.engine(url)

    async def capture() -> list[Any]:
        async with reader.connect() as connection:
            await connection.begin()
            return await captured_on(connection)

    async def captured_on(connection: Any) -> list[Any]:
        async with AsyncCapturedChanges(connection, Person) as captured:
            await connection.exec_driver_sql(insert(3, 2))
            return await captured.so_far()

    if kind.is_async:
        events = kind.wait(capture())
    else:
        with reader.connect() as connection:
            connection.begin()
            with CapturedChanges(connection, Person) as captured:
                connection.exec_driver_sql(insert(3, 2))
                events = captured.so_far()
    run(engine, insert(3, 2))
    check_row(events[1].new, 2, select_error(kind, reader, Person))
    assert dict(events[2].new)["score"] == 30


@pytest.fixture
def bad_and_good(engine):
    """Two events, of which the first has a date that cannot be read."""
    from sa_pgnotify import Listener

    Person = persons(engine)
    with Listener(engine, Person) as listener:
        run(engine, insert(2, 1))
        return take(listener, 2)


def test_what_is_done_with_a_whole_row(bad_and_good):
    """What takes all values of a row raises the error of the one that cannot be decoded; what does
    not, works."""
    bad, good = bad_and_good
    values = bad.new
    assert list(values) == list(values.keys()) == list(good.new)
    assert len(values) == 6
    assert "birthday" in values
    assert values.get("score") == 10
    assert values.get("nothing", 7) == 7
    with pytest.raises(KeyError):
        values["nothing"]
    read = {}
    with pytest.raises(UndecodableValue):
        for name, value in values.items():
            read[name] = value
    assert read == {"id": 1, "name": "n1"}
    takers = (
        dict, lambda v: {**v}, lambda v: v | {}, lambda v: {} | v, lambda v: list(v.values()), lambda v: v.copy(), lambda v: v.get("birthday"),
        pickle.dumps, copy.deepcopy,
    )  # fmt: skip
    for take_all in takers:
        with pytest.raises(UndecodableValue, match=r"Person\.birthday"):
            take_all(values)
    match values:
        case {"score": score}:
            assert score == 10
    with pytest.raises(UndecodableValue, match=r"Person\.birthday"):
        bad.instance()


def test_a_name_that_does_not_travel_in_such_a_row(bad_and_good):
    """A row with a value that cannot be decoded still says how to have another value travel."""
    bad, _ = bad_and_good
    with pytest.raises(ValuesNotCarried, match=r"NotifySpec\(values=") as raised:
        bad.new["nothing"]
    assert raised.value.missing == ("nothing",)
    assert isinstance(raised.value, KeyError)


def test_the_repr_shows_which_value_cannot_be_decoded(bad_and_good):
    """A repr never fails: it has the readable values, and in the place of the other one what
    PostgreSQL wrote."""
    bad, _ = bad_and_good
    assert "'name': 'n1', " in repr(bad.new)
    assert f"'birthday': <undecodable '{BAD}'>" in repr(bad.new)
    assert repr(bad).startswith("Inserted(Person, (1,), new={")
    assert f"<undecodable '{BAD}'>" in repr(bad)


def test_equality_of_rows_with_such_a_value(bad_and_good, engine):
    """Comparing never fails: two rows are equal if their values are, and the texts of what cannot
    be decoded; no dict equals such a row."""
    bad, good = bad_and_good
    assert bad.new == bad.new
    assert bad.new != good.new
    assert good.new != bad.new
    assert bad.new != dict.fromkeys(bad.new)
    assert dict.fromkeys(bad.new) != bad.new
    assert good.new == dict(good.new)


def test_events_and_errors_are_copied(bad_and_good):
    """An event is its own copy, and cannot be pickled: it says what can. An error can be, and says
    the same afterwards."""
    _, good = bad_and_good
    assert copy.copy(good) is good
    assert copy.deepcopy(good) is good
    with pytest.raises(TypeError, match=r"Inserted.*dict\(event\.new\)"):
        pickle.dumps(good)
    assert pickle.loads(pickle.dumps(dict(good.new))) == good.new
    with pytest.raises(UndecodableValue) as raised:
        bad_and_good[0].new["birthday"]
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), str(again), again.attribute, again.text) == (
        UndecodableValue,
        str(raised.value),
        "birthday",
        BAD,
    )


def test_what_the_command_line_shows(bad_and_good):
    """``watch`` shows the values that can be read, and PostgreSQL's text of the other; its JSON
    says what is wrong with it."""
    from rich.console import Console

    from sa_pgnotify.cli.event_json import json_line
    from sa_pgnotify.cli.event_text import print_event

    bad, _ = bad_and_good
    out = io.StringIO()
    print_event(Console(file=out), bad)
    assert "name='n1'" in out.getvalue()
    assert f"birthday=<undecodable '{BAD}'>" in out.getvalue()
    told = json.loads(json_line(bad))
    assert (told["new"]["name"], "birthday" in told["new"]) == ("n1", False)
    assert told["undecodable"]["new"]["birthday"]["text"] == BAD
