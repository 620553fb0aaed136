"""Rows as a hub sends them: the JSON that a browser parses, and the order of the rows."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal

import pytest
from hub_site import Site
from hub_tables import add, models
from sqlalchemy import JSON, Double, Interval, LargeBinary, Numeric, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from statements import run
from waiting import wait_until

from sa_pgnotify import NotifyOnChange, NotifySpec


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


def things():
    class Base(DeclarativeBase):
        pass

    class Thing(NotifyOnChange, Base):
        __tablename__ = "things"
        __notify__ = NotifySpec(durable=True)
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        color: Mapped[Color] = mapped_column(primary_key=True)
        day: Mapped[dt.date] = mapped_column(primary_key=True)
        price: Mapped[Decimal | None] = mapped_column(Numeric)
        size: Mapped[float | None] = mapped_column(Double)
        sizes: Mapped[list | None] = mapped_column(ARRAY(Double))
        at: Mapped[dt.datetime | None] = mapped_column()
        long: Mapped[dt.timedelta | None] = mapped_column(Interval)
        raw: Mapped[bytes | None] = mapped_column(LargeBinary)
        document: Mapped[dict | None] = mapped_column(JSONB)
        plain: Mapped[list | None] = mapped_column(JSON)
        words: Mapped[str | None]

    return Base, Thing


WORDS = "</script>\n\r\n\u2028\u2029\x85\x01\x7f\\\"' data: x\n\nevent: rows ü \U0001f600"


@pytest.fixture(name="Thing")
def _thing(engine):
    base, thing = things()
    base.metadata.create_all(engine)
    return thing


def test_values(url, engine, Thing):
    """An entity is sent as one line of JSON, whatever its values are; a number that JSON does not
    have is sent as a string."""
    number = uuid.UUID(int=7)
    day = dt.date(2026, 2, 3)
    with Site(url, select(Thing)) as site, site.browse() as stream:
        assert stream.rows() == {}
        with Session(engine) as session:
            session.add(
                Thing(
                    id=number, color=Color.BLUE, day=day, price=Decimal("NaN"), size=float("-inf"),
                    sizes=[float("nan"), 1.5, None], at=dt.datetime(2026, 2, 3, 4, 5),
                    long=dt.timedelta(days=1), raw=b"\0\xff</script>", words=WORDS,
                    document={"a": [1, None, "\u2028"]}, plain=[True, 1e300],
                )
            )  # fmt: skip
            session.commit()
        event = stream.next()
        ((key, row),) = event.data["put"]
        assert key == f'["{number}","blue","2026-02-03"]'
        assert row == {
            "id": str(number), "color": "blue", "day": "2026-02-03", "price": "NaN", "size": "-inf",
            "sizes": ["nan", 1.5, None], "at": "2026-02-03T04:05:00", "long": "1 day, 0:00:00",
            "raw": "\\x00ff3c2f7363726970743e", "words": WORDS,
            "document": {"a": [1, None, "\u2028"]}, "plain": [True, 1e300],
        }  # fmt: skip
        assert [line.partition(":")[0] for line in event.lines] == ["id", "event", "data"]
        assert all(line.isascii() for line in event.lines)
        run(engine, "UPDATE things SET price = 1.10, size = 'infinity', words = NULL, raw = NULL")
        ((again, row),) = stream.next().data["put"]
        assert again == key
        assert (row["price"], row["size"], row["words"], row["raw"]) == ("1.10", "inf", None, None)
        run(engine, "DELETE FROM things")
        assert stream.next().data == {"put": [], "gone": [key]}


def test_several_elements(url, engine):
    """If there are several elements, each is sent by its name: an entity as an object, or as null
    if an outer join has not found it."""
    base = models()
    base.metadata.create_all(engine)
    Note, Grant = base.Note, base.Grant
    statement = select(Note, Grant, Note.owner.label("of")).outerjoin(
        Grant, Grant.owner == Note.owner
    )
    with Site(url, statement) as site, site.browse() as stream:
        stream.rows()
        add(engine, "a", 1)
        ((key, row),) = stream.next().data["put"]
        assert row == {"Note": {"id": 1, "owner": "a", "body": ""}, "Grant": None, "of": "a"}
        run(engine, "INSERT INTO grants VALUES ('r', 'a')")
        step = stream.next().data
        assert step["gone"] == [key]
        assert step["put"][0][1]["Grant"] == {"reader": "r", "owner": "a"}


def test_groups(url, engine):
    """The key of a row of a GROUP BY has the grouping values."""
    base = models()
    base.metadata.create_all(engine)
    Note = base.Note
    statement = select(Note.owner, func.count().label("notes")).group_by(Note.owner)
    with Site(url, statement) as site, site.browse() as stream:
        stream.rows()
        add(engine, "a", 1)
        assert stream.next().data["put"] == [['["a"]', {"owner": "a", "notes": 1}]]
        add(engine, "a", 2)
        assert stream.next().data["put"] == [['["a"]', {"owner": "a", "notes": 2}]]


def ordered(stream, have, wanted) -> None:
    """Apply messages to ``have`` as an ordered page does, until it is as wanted.

    Each state on the way must be consistent.
    """
    while list(have.items()) != wanted:
        event = stream.next()
        if event.name == "rows":
            rows, order = dict(event.data), [key for key, _ in event.data]
        else:
            rows, order = have | dict(event.data["put"]), event.data["order"]
            assert set(order) == set(rows) - set(event.data["gone"])
        have.clear()
        have.update({key: rows[key] for key in order})


def test_order_and_limit(url, engine):
    """A page with ORDER BY and LIMIT keeps the order and never has too many rows, also if it reads
    late or reconnects."""
    base = models()
    base.metadata.create_all(engine)
    Note = base.Note
    statement = select(Note.body).order_by(Note.body.desc(), Note.id).limit(3)
    add(engine, "a", 1, body="e")
    add(engine, "a", 2, body="c")

    def wanted():
        with engine.connect() as connection:
            found = connection.exec_driver_sql(
                "SELECT id, body FROM notes ORDER BY body DESC, id LIMIT 3"
            )
            return [(f"[{number}]", {"body": body}) for number, body in found]

    with Site(url, statement) as site, site.browse() as stream, site.browse() as late:
        have, have_late = {}, {}
        ordered(stream, have, wanted())
        for change in (
            "INSERT INTO notes VALUES (3, 'a', 'd'), (4, 'a', 'f')",
            "UPDATE notes SET body = 'a' WHERE id = 4",
            "UPDATE notes SET body = CASE id WHEN 1 THEN 'c' WHEN 2 THEN 'e' ELSE body END",
            "DELETE FROM notes WHERE id = 3",
            "TRUNCATE notes",
            "INSERT INTO notes VALUES (9, 'a', 'z')",
        ):
            run(engine, change)
            ordered(stream, have, wanted())
        ordered(late, have_late, wanted())
        with site.browse(last_id="unknown") as again:
            ordered(again, {}, wanted())


def test_order_alone_changes(url, engine):
    """If rows change their order by a column that is not selected, the page is sent the new
    order."""
    base = models()
    base.metadata.create_all(engine)
    Note = base.Note
    add(engine, "a", 1, 2)
    run(engine, "UPDATE notes SET body = id::text")
    with (
        Site(url, select(Note.id).order_by(Note.body), heartbeat=1) as site,
        site.browse() as stream,
    ):
        assert list(stream.rows()) == ["[1]", "[2]"]
        run(engine, "UPDATE notes SET body = '0' WHERE id = 2")
        step = stream.next().data
        assert step["order"] == ["[2]", "[1]"]
        assert not step["gone"]


def test_encode(url, engine):
    """A program may decide with encode= what is sent for a row."""
    base = models()
    base.metadata.create_all(engine)
    add(engine, "a", 1)

    def encode(row):
        return [
            row.id,
            {"at": dt.date(2026, 1, 2), "x": (float("nan"), b"a", {"b": float("inf")})},
        ]

    with Site(url, select(base.Note.id), encode=encode) as site, site.browse() as stream:
        assert stream.rows() == {
            "[1]": [1, {"at": "2026-01-02", "x": ["nan", "\\x61", {"b": "inf"}]}]
        }


def test_encode_that_fails_for_one(url, engine):
    """An error in the program's encode= ends the streams of that user, and leaves no query."""
    base = models()
    base.metadata.create_all(engine)
    Note = base.Note

    def encode(row):
        return {"id": 1 / (row.id - 5)}

    statement, options = select(Note.id), {"authorize": lambda user: Note.owner == user}
    with Site(url, statement, encode=encode, **options) as site:
        with site.browse("a") as one, site.browse("b") as other:
            one.rows(), other.rows()
            add(engine, "a", 5)
            assert one.next().name == "failed"
            with site.browse("a") as again:
                assert again.next().name == "failed"
            add(engine, "b", 2)
            assert other.next().data["put"][0][0] == "[2]"
            assert len(site.see(lambda: list(site.hub._channels))) <= 2
        wait_until(lambda: site.is_empty)
