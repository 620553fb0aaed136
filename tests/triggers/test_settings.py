"""No setting that a writer can make changes an event: each one that a user may set is set oddly,
beside a column of every type."""

from __future__ import annotations

from typing import Any

from everything import create, literals, model
from receiving import take
from selects import differences, selected
from sqlalchemy import Connection, Engine, text
from statements import run

from sa_pgnotify import Listener, Updated

TEXTS = {
    "DateStyle": ["SQL, DMY", "German", "Postgres, MDY"],
    "TimeZone": ["Asia/Kolkata", "America/St_Johns"],
    "timezone_abbreviations": ["India"],
    "client_encoding": ["LATIN1", "SQL_ASCII"],
    "search_path": ["pg_temp", "", "nowhere, pg_catalog"],
    "default_text_search_config": ["german"],
    "application_name": ["sa_pgnotify listener"],
    "sa_pgnotify.other": ["x"],
}
"""Settings whose values are texts, and what they are set to; those of the locale are set to what
the server has."""
LOCALES = ("lc_monetary", "lc_numeric", "lc_time")
WRITES_NOTHING = {
    "default_transaction_read_only",
    "transaction_read_only",
    "exit_on_error",
    "transaction_deferrable",
    "transaction_isolation",
}
"""With these set, nothing is written, or the session ends, or they cannot be set in a transaction
that has begun."""


def odd_settings(engine: Engine) -> list[tuple[str, str]]:
    """Each setting that any user may set, with each value that is odd: of a number its bounds, of a
    list all that it may be."""
    found: list[tuple[str, str]] = []
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT name, vartype, setting, min_val, max_val, enumvals FROM pg_settings WHERE context = 'user'"
            )
        )
        for name, type_, setting, least, most, values in rows:
            if type_ == "bool":
                found.append((name, "off" if setting == "on" else "on"))
            elif type_ == "enum":
                found += [(name, value) for value in values if value != setting]
            elif type_ != "string" and not name.endswith("_timeout"):
                found += [(name, value) for value in (least, most)]
        locales = connection.execute(text("SELECT DISTINCT ON (left(collname, 2)) collname FROM pg_collation WHERE collprovider = 'c' AND collencoding IN (-1, 6)"))  # fmt: skip
        for locale in locales.scalars():
            found += [(name, locale) for name in LOCALES]
    found += [(name, value) for name, values in TEXTS.items() for value in values]
    return [(name, value) for name, value in found if name not in WRITES_NOTHING]


def write(connection: Connection, name: str, value: str) -> bool:
    """Update the row with one setting; False if this server does not have the value."""
    try:
        with connection.begin():
            connection.execute(
                text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value}
            )
            connection.exec_driver_sql('UPDATE public.every SET "c int8" = "c int8" + 1')
    except Exception:
        return False
    return True


def test_no_setting_changes_an_event(engine):
    """The values of a row with a column of every type are the same in an event, whatever one
    setting of the writer's session is."""
    values = literals(engine)
    create(engine, "every", values)
    Every = model(engine, "every")
    Every.metadata.create_all(engine)
    run(
        engine,
        f"INSERT INTO every SELECT 1, {', '.join(of[1] for of in values.values())}",
        'UPDATE every SET "c int8" = 0',
    )
    (expected,) = selected(PLAIN, engine, Every)
    with Listener(engine, Every) as listener, engine.connect() as connection:
        written = [setting for setting in odd_settings(engine) if write(connection, *setting)]
        events = take(listener, len(written))
    assert {name for name, _ in written} >= {"DateStyle", "TimeZone", "IntervalStyle", "bytea_output", "extra_float_digits", "xmloption",
                                             "quote_all_identifiers", "array_nulls", "lc_monetary", "search_path", "client_encoding"}  # fmt: skip
    assert len(written) > 150
    found: dict[tuple[str, str], Any] = {}
    for number, (setting, event) in enumerate(zip(written, events), 1):
        assert isinstance(event, Updated), (setting, event)
        assert (event.changed, event.new["c int8"], event.old["c int8"]) == (
            {"c int8"},
            number,
            number - 1,
        ), setting
        if different := differences([event], "new", [expected | {"c int8": number}]):
            found[setting] = different
    assert found == {}


class Plain:
    """Stands for a kind of listener that needs no loop."""

    @staticmethod
    def select(engine: Engine, work: Any) -> Any:
        with engine.connect() as connection:
            return work(connection)


PLAIN = Plain()
