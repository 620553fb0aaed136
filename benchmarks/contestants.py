"""The tables that are measured against each other: the same six columns, another trigger on each.

``none`` has no trigger. ``identity`` and ``values`` are sa_pgnotify's, ``durable`` and ``durable_values`` the same through its change
log. ``row_key`` and ``row_json`` are what one writes by hand.
``capture`` and ``new_keys`` are floors: what any statement trigger pays, and what it pays that tells keys but not what changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Engine, Identity, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import ChangeLog, NotifyOnChange, NotifySpec


class Base(DeclarativeBase):
    pass


LOG = ChangeLog(Base.metadata)


class Order(Base):
    """The columns of every contestant."""

    __abstract__ = True
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    note: Mapped[str | None] = mapped_column(Text)
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    placed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    detail: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    qty: Mapped[int | None]


class Identities(NotifyOnChange, Order):
    __tablename__ = "orders_identity"


class Values(NotifyOnChange, Order):
    __tablename__ = "orders_values"
    __notify__ = NotifySpec(values="all")


class Durable(NotifyOnChange, Order):
    __tablename__ = "orders_durable"
    __notify__ = NotifySpec(durable=True)


class DurableValues(NotifyOnChange, Order):
    __tablename__ = "orders_durable_values"
    __notify__ = NotifySpec(durable=True, values="all")


_BY_HAND: dict[str, type[Order]] = {
    name: type(name, (Order,), {"__tablename__": f"orders_{name}"}) for name in ("none", "row_key", "row_json", "capture", "new_keys")
}


@dataclass(frozen=True)
class Contestant:
    """One table.

    :ivar functions: name of the trigger function, if the trigger is written by hand.
    """

    name: str
    title: str
    model: type[Order]
    function: str = ""
    each: str = "STATEMENT"

    @property
    def table(self) -> str:
        return self.model.__tablename__

    @property
    def empty(self) -> str:
        """Empties the table, and with it the change log, which would else grow from one measurement to the next."""
        logged = issubclass(self.model, Durable | DurableValues)
        return f"TRUNCATE {', '.join([self.table, *(LOG.names.slots if logged else ())])} RESTART IDENTITY"

    def statements(self) -> Iterator[str]:
        """What makes the trigger, where it is written by hand."""
        if not self.function:
            return
        yield _FUNCTIONS[self.function]
        statement = self.each == "STATEMENT"
        for operation, tables in (("INSERT", "NEW TABLE AS new_rows"), ("UPDATE", "OLD TABLE AS old_rows NEW TABLE AS new_rows")):
            yield (
                f"CREATE TRIGGER {self.function}_{operation.lower()} AFTER {operation} ON {self.table} "
                f"{f'REFERENCING {tables} ' if statement else ''}FOR EACH {self.each} EXECUTE FUNCTION {self.function}()"
            )


CONTESTANTS = (
    Contestant("none", "no trigger", _BY_HAND["none"]),
    Contestant("capture", "floor: transition tables captured, nothing done", _BY_HAND["capture"], "do_nothing"),
    Contestant("new_keys", "floor: new keys sent, OLD and NEW not paired", _BY_HAND["new_keys"], "tell_new_keys"),
    Contestant("identity", "**sa_pgnotify, identity** (default)", Identities),
    Contestant("values", '**sa_pgnotify, values="all"**', Values),
    Contestant("durable", "**sa_pgnotify, durable**, identity", Durable),
    Contestant("durable_values", '**sa_pgnotify, durable, values="all"**', DurableValues),
    Contestant("row_key", "by hand: row trigger, key", _BY_HAND["row_key"], "tell_key", "ROW"),
    Contestant("row_json", "by hand: row trigger, row_to_json", _BY_HAND["row_json"], "tell_row", "ROW"),
)
BY_NAME = {c.name: c for c in CONTESTANTS}

_FUNCTIONS = {
    "tell_key": """
        CREATE FUNCTION tell_key() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          PERFORM pg_notify(TG_TABLE_NAME, NEW.id::text);
          RETURN NULL;
        END $$""",
    "tell_row": """
        CREATE FUNCTION tell_row() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          PERFORM pg_notify(TG_TABLE_NAME, row_to_json(NEW)::text);
          RETURN NULL;
        END $$""",
    "do_nothing": "CREATE FUNCTION do_nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    "tell_new_keys": """
        CREATE FUNCTION tell_new_keys() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
          bytes bytea;
          total int;
          start int := 1;
        BEGIN
          SELECT convert_to(string_agg(id::text, E'\\x1e'), 'UTF8') INTO bytes FROM new_rows;
          total := octet_length(bytes);
          WHILE start <= total LOOP
            PERFORM pg_notify(TG_TABLE_NAME, concat(start, ' ', convert_from(substr(bytes, start, 7900), 'UTF8')));
            start := start + 7900;
          END LOOP;
          RETURN NULL;
        END $$""",
}

SOURCE = """
    CREATE TABLE source AS
    SELECT 'order ' || i || ' of a customer in town' AS note, mod(i, 100000) / 100.0 AS price,
           timestamptz '2024-01-01 00:00:00.123456+00' + i * interval '1 second' AS placed_at,
           jsonb_build_object('sku', 'A-' || i, 'tags', jsonb_build_array('new', 'gift'), 'parts', mod(i, 7)) AS detail, mod(i, 50) AS qty
      FROM generate_series(1, {rows}) AS i"""
COLUMNS = "note, price, placed_at, detail, qty"


def create(engine: Engine, rows: int) -> None:
    """All tables, triggers, and the rows that are to be inserted."""
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(SOURCE.format(rows=rows))
        for contestant in CONTESTANTS:
            # Vacuum comes between the measurements, not into them.
            connection.exec_driver_sql(f"ALTER TABLE {contestant.table} SET (autovacuum_enabled = off)")
            for statement in contestant.statements():
                connection.exec_driver_sql(statement)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE source")


def rotated(names: tuple[str, ...], turn: int) -> tuple[str, ...]:
    """``names`` in another order each turn, so that nobody always goes first."""
    turn %= len(names)
    return names[turn:] + names[:turn]
