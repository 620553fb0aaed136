"""The marked tables of a database, read back as Core tables, for programs without models.

The comment on a trigger function says what it was made from, and the catalog how its table has
changed since. The tables are marked as what they publish at present: an operation whose trigger
does not fire is left out.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.exc import SAWarning

from ..marking.spec import mark
from ..sql import execute_on
from .catalog import Function, Installed, functions, installed
from .function_comment import parameters_in
from .names import ALL_TRIGGER_NAMES
from .trigger_set import TriggerSet

__all__ = ["Installation", "read_installation"]


@dataclass(frozen=True, slots=True)
class Installation:
    """The sa_pgnotify triggers that are installed in a database.

    :ivar sets: the trigger sets that were installed, by the full name of their table; ``found``
        what the database has of them now.
    :ivar damaged: trigger functions of tables whose comment is damaged or lost, or that a newer
        version made; ``unused`` those that no trigger runs.
    :ivar hidden: tables with triggers in schemas that this role may not use.
    """

    sets: dict[str, TriggerSet]
    found: dict[str, Installed]
    damaged: dict[str, Function]
    unused: list[Function]
    hidden: list[str]

    def silent(self, name: str) -> list[str]:
        """Return the triggers of a table that do not fire, or do not exist."""
        there = self.found[name].triggers
        wanted = self.sets[name].trigger_names.values()
        return [trigger for trigger in wanted if trigger not in there or not there[trigger].fires]

    def is_captured(self, name: str) -> bool:
        """Return whether a table is published for a capture."""
        captured = self.found[name].captured
        return captured is not None and captured.is_published

    def tables(self, connection: Connection) -> MetaData:
        """Return the tables that publish changes, reflected and marked."""
        metadata = MetaData()
        by_schema: dict[str | None, list[str]] = {}
        for name, triggers in self.sets.items():
            if self.is_captured(name) or len(self.silent(name)) < len(triggers.marking.triggered):
                by_schema.setdefault(triggers.schema, []).append(triggers.table)
        with warnings.catch_warnings():
            # about types that SQLAlchemy does not know, whose values are texts then
            warnings.simplefilter("ignore", SAWarning)
            for schema, names in by_schema.items():
                metadata.reflect(connection, schema=schema, only=names, resolve_fks=False)
        for table in metadata.tables.values():
            self._mark(table)
        return metadata

    def _mark(self, table: Table) -> None:
        triggers, silent = self.sets[table.fullname], self.silent(table.fullname)
        firing = tuple(o for o, name in triggers.trigger_names.items() if name not in silent)
        mark(table, replace(triggers.marking, operations=firing))


def read_installation(connection: Connection) -> Installation:
    """Return the triggers that are installed in the database of ``connection``."""
    execute = execute_on(connection)
    sets: dict[str, TriggerSet] = {}
    damaged: dict[str, Function] = {}
    unused = []
    for function in functions(execute):
        if function.table is None:
            unused.append(function)
            continue
        schema = None if function.visible else function.table_schema
        name = function.table if schema is None else f"{schema}.{function.table}"
        parameters = parameters_in(function.comment or {})
        if "columns" not in parameters:
            damaged[name] = function
        elif function.trigger in ALL_TRIGGER_NAMES or function.is_of_captured_table:
            made = TriggerSet.from_parameters(function.table, schema, **parameters)
            sets[name] = (
                made
                if made.function_name == function.name
                else replace(made, function=function.name)
            )
    there = installed(execute, sets.values())
    found = {name: there[triggers] for name, triggers in sets.items() if triggers in there}
    hidden = sorted(sets.keys() - found.keys())
    return Installation({name: sets[name] for name in found}, found, damaged, unused, hidden)
