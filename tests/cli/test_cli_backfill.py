"""``backfill``, and what ``consumers`` shows of rows that are being read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from commands import MODULE, refused
from statements import run

from sa_pgnotify import Consumer, Existing

MORE = """
import enum
from datetime import date

class Region(enum.Enum):
    eu = "EU"
    us = "US"

class Parcel(NotifyOnChange, Base):
    __tablename__ = "parcels"
    __notify__ = NotifySpec(durable=True, values="all")
    id: Mapped[int] = mapped_column(primary_key=True)
    region: Mapped[Region]
    sent: Mapped["date | None"] = mapped_column("sent_on")
"""


@pytest.fixture
def parcels(shop, engine) -> Iterator[Any]:
    """The class ``Parcel``, with four rows."""
    file = shop.folder / f"{MODULE}.py"
    file.write_text(file.read_text() + MORE)
    shop.create(engine)
    run(
        engine,
        "INSERT INTO parcels VALUES (1, 'eu', '2026-01-01'), (2, 'us', '2026-01-01'), (3, 'eu', NULL), (4, 'eu', '2026-01-01')",
        "ANALYZE parcels",
    )
    with shop.models() as models:
        yield models.Parcel


def given_out(engine: Any, entity: Any, **options: Any) -> list[int]:
    """The rows that the consumer gives out until it is not behind."""
    found: list[int] = []
    with Consumer(engine, "search", entity, **options) as consumer:
        for batch in consumer:
            with batch:
                assert {type(change) for change in batch} == {Existing}
                found += [change.identity[0] for change in batch]
            if not consumer.lag().rows_estimate:
                break
    return found


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ([], [1, 2, 3, 4]),
        (["region=eu"], [1, 3, 4]),
        (["region=eu", "sent=2026-01-01"], [1, 4]),
        (["id=2"], [2]),
    ],
    ids=str,
)
def test_rows_come(shop, engine, parcels, where, rows):
    """The consumer gives out the rows with these values, of whichever types."""
    with Consumer(engine, "search", parcels):
        pass
    options = [part for one in where for part in ("--where", one)]
    done = shop.run("backfill", f"{MODULE}:Parcel", "--consumer", "search", *options)
    said = f" with {' and '.join(where)}" if where else ""
    assert done.output == f"'search' will give out the rows of Parcel{said}\n"
    assert done.exit_code == 0
    assert given_out(engine, parcels) == rows


def test_all_parts_give_out_their_rows(shop, engine, parcels):
    """Of a name that is divided, each part is asked; and the list names the part."""
    for part in range(2):
        with Consumer(engine, "search", parcels, partition=(part, 2)):
            pass
    done = shop.run("backfill", f"{MODULE}:Parcel.__table__", "--consumer", "search")
    assert done.output == "'search' will give out the rows of parcels, in 2 parts\n"
    assert shop.run("consumers").output.splitlines()[3:] == [
        "search (0 of 2) has read 0 of about 4 rows",
        "search (1 of 2) has read 0 of about 4 rows",
    ]
    found = [given_out(engine, parcels, partition=(part, 2)) for part in range(2)]
    assert sorted(found[0] + found[1]) == [1, 2, 3, 4]


def test_progress_is_shown_while_there_is_some(shop, engine, parcels, monkeypatch):
    """The list shows how many rows an unfinished snapshot has read, and nothing at its end."""
    run(
        engine,
        "INSERT INTO parcels SELECT i, 'us' FROM generate_series(5, 2500) AS i",
        "ANALYZE parcels",
    )
    monkeypatch.setattr("sa_pgnotify.scanning.entity_rows.PAGE_ROWS", 1)
    options: dict[str, Any] = {"start": "snapshot", "batch_size": 1200}
    with Consumer(engine, "search", parcels, **options) as consumer:
        for batch in consumer:
            with batch:
                pass
            break
    (line,) = shop.run("consumers").output.splitlines()[2:]
    assert line == "search has read 1,200 of about 2,500 rows"
    assert given_out(engine, parcels, **options) == list(range(1201, 2501))
    assert len(shop.run("consumers").output.splitlines()) == 2


def test_what_cannot_be_asked_for(shop, engine, parcels):
    """A consumer, a column or an entity that is not there: one line that names what is."""
    ask = ("backfill", f"{MODULE}:Parcel", "--consumer", "search")
    assert refused(shop.run(*ask)) == "there is no consumer 'search'; start it first"
    with Consumer(engine, "billing", parcels):
        pass
    assert refused(shop.run(*ask)).endswith("; its log has 'billing'")
    ask = ("backfill", f"{MODULE}:Parcel", "--consumer", "billing")
    has = f"{MODULE}:Parcel has id, region, sent"
    for where in ("size=1", "id", "sent_on=2026-01-01"):
        message = f"--where {where} is not COLUMN=VALUE. {has}"
        assert refused(shop.run(*ask, "--where", where)) == message
    assert "invalid input" in refused(shop.run(*ask, "--where", "region=asia"))
    assert refused(shop.run("backfill", f"{MODULE}:Base", *ask[2:])).startswith(
        f"{MODULE}:Base is not one class or table. Give {MODULE}:Customer or "
    )
    assert "not durable" in refused(shop.run("backfill", f"{MODULE}:Order", *ask[2:]))
    assert "does not read payments" in refused(shop.run("backfill", f"{MODULE}:Payment", *ask[2:]))
    assert shop.run("backfill", f"{MODULE}:Parcel").exit_code == 2
