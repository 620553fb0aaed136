"""The differences between the installed triggers and those that the models ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Engine, MetaData, text

from ..errors import TriggersMissing
from ..log.captures import find_slot
from ..log.tables import LogNames, find_log
from ..marking.spec import marking_of
from ..sql import Execute, execute_on, literal, quote, schema_translation
from .captured import capture_faults, slot_fault, slots_of
from .catalog import Installed, functions, installed, marked_sets
from .children import HEIRS_HINT, collecting_kinds, foreign_children, heirs, kinds_with_heirs
from .children import HINT as DETACH
from .function_comment import read_comment
from .log_trust import log_faults
from .names import FUNCTION_PREFIX, TRIGGER_SHAPES
from .rights import lacking_rights
from .trigger_set import TriggerSet


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between the models and the database.

    :ivar kind: ``"missing"`` (no table, function or trigger, or no right to write to the change
        log), ``"outdated"`` (made from another declaration, or altered by hand), ``"disabled"``
        (ALTER TABLE ... DISABLE TRIGGER), ``"conflicting"`` (something in the database makes writes
        fail because of the triggers) or ``"left over"`` (ours, but no marking asks for it).
    :ivar table: the table's name, as SQLAlchemy gives it (``schema.table``).
    :ivar object: the part that differs, e.g. ``"trigger sa_pgnotify_insert"``.
    :ivar fix: how to fix it, in one sentence.
    """

    kind: Literal["missing", "outdated", "disabled", "conflicting", "left over"]
    table: str
    object: str
    fix: str

    @property
    def problem(self) -> str:
        """The difference as a clause."""
        if self.object == "the table":
            return f"the table {self.table} is {self.kind}"
        return f"{self.object} of {self.table} is {self.kind}"

    def __str__(self) -> str:
        return f"{self.kind}: {self.object} of {self.table}. {self.fix}"


def triggers_missing(drifts: Mapping[str, Sequence[Drift]]) -> TriggersMissing:
    """Return the error that the triggers of tables do not fire, with the fix of each difference.

    :param drifts: the differences by the name of their table.
    """
    every = [drift for found in drifts.values() for drift in found]
    fix = " ".join(dict.fromkeys(drift.fix for drift in every)).removesuffix(".")
    return TriggersMissing(tuple(drifts), "; ".join(drift.problem for drift in every), fix)


FIX = "Run metadata.create_all(engine), or the migration that installs the triggers."


def compare(
    wanted: TriggerSet, found: Installed | None, table_name: str, *, contents: bool = True
) -> list[Drift]:
    """Return how the triggers that are installed for a table differ from its marking.

    :param found: None if the table does not exist.
    :param table_name: the table's name in the differences.
    :param contents: whether to do what :func:`compare_contents` does, too.
    """
    fix = FIX
    if found is None:  # or in a schema that this role may not use, where it sees no table
        if wanted.schema is not None:
            fix += f" If it is there, GRANT USAGE ON SCHEMA {quote(wanted.schema)} TO this role."
        return [Drift("missing", table_name, "the table", fix)]
    drifts = []
    if lacking := found.lacks(wanted):
        add = "Add it, by a migration; the triggers follow it."
        drifts += [Drift("outdated", table_name, f"column {name}", add) for name in lacking]
        fix = _fix(lacking)
    if contents:
        drifts += compare_contents(wanted, found, table_name)
    drifts += _function_drifts(wanted, found, table_name, fix)
    drifts += _trigger_drifts(wanted, found, table_name, fix)
    if found.captured is not None:
        drifts += (
            Drift(kind, table_name, object_, fix)
            for kind, object_ in capture_faults(wanted, found.captured)
        )
    return drifts


def compare_contents(wanted: TriggerSet, found: Installed, table_name: str) -> list[Drift]:
    """Return the difference of the function's contents, if there is one. It takes far longer to
    find than all others, because what the function should contain has to be written."""
    if found.source is None or not found.has_its_name:
        return []
    if _is_as_wanted(found.fitted(wanted), found):
        return []
    fix = _fix(found.lacks(wanted))
    return [Drift("outdated", table_name, f"function {wanted.function_name}", fix)]


def _fix(lacking: Sequence[str]) -> str:
    """Return how to fix the triggers of a table that lacks these columns."""
    if not lacking:
        return FIX
    # create_all leaves such a table alone
    columns = ", ".join(f"column {name}" for name in lacking)
    return f"First add {columns}, which the table lacks, by a migration; the triggers follow it."


def slot_drifts(execute: Execute, names: Mapping[TriggerSet, str]) -> list[Drift]:
    """Return a difference for each captured table whose slot does not keep its changes.

    :param names: the tables' names in the differences.
    """
    return [
        Drift("missing", names[wanted], *fault)
        for wanted, slot in slots_of(execute, names).items()
        if (fault := slot_fault(slot)) is not None
    ]


def _function_drifts(
    wanted: TriggerSet, found: Installed, table_name: str, fix: str
) -> Iterator[Drift]:
    """Yield what is wrong with the function, beside its contents."""
    function = f"function {wanted.function_name}"
    if found.source is None:
        yield Drift("missing", table_name, function, fix)
    elif not found.has_its_name:
        yield Drift("outdated", table_name, function, fix)
    if found.stranger is not None:
        yield Drift(
            "conflicting",
            table_name,
            f"the role {found.stranger}, which owns {function}",
            f"It could replace the function by code that runs as the writers. ALTER FUNCTION ... OWNER TO the owner of {table_name}.",
        )


def _trigger_drifts(
    wanted: TriggerSet, found: Installed, table_name: str, fix: str
) -> Iterator[Drift]:
    """Yield what is wrong with each trigger."""
    shapes = TRIGGER_SHAPES[wanted.marking.for_each]
    for operation, name in wanted.trigger_names.items():
        trigger, object_ = found.triggers.get(name), f"trigger {name}"
        if trigger is None:
            yield Drift("missing", table_name, object_, fix)
        elif trigger.shape != shapes[operation] or trigger.function_oid != found.function_oid:
            yield Drift("outdated", table_name, object_, fix)
        elif not trigger.fires:
            enable = f"ALTER TABLE {wanted.qualified_table} ENABLE TRIGGER {quote(name)}."
            yield Drift("disabled", table_name, object_, enable)
    for name in sorted(found.triggers.keys() - wanted.trigger_names.values()):
        yield Drift("left over", table_name, f"trigger {name}", fix)


def _is_as_wanted(wanted: TriggerSet, found: Installed) -> bool:
    """Return whether the function is what it should be; a setting of None stands for any value."""
    comment = read_comment(found.comment) or {}
    resolved = comment.pop("resolved", {})
    if (comment, found.is_definer) != (read_comment(wanted.comment), wanted.is_definer):
        return False
    if wanted.source(resolved, found.near_log) != found.source:
        return False
    if any(resolved.get(mark) != sql for mark, sql in wanted.virtual_marks(found.virtual).items()):
        return False
    settings = wanted.settings
    return settings.keys() == found.settings.keys() and all(
        v is None or v == found.settings[n] for n, v in settings.items()
    )


def check(bind: Engine | Connection, metadata: MetaData | Sequence[MetaData]) -> list[Drift]:
    """Return what is missing, outdated, disabled, conflicting or left over in the database; an
    empty list if it fits the models.

    It reads ``pg_catalog`` and changes nothing. Triggers of tables that are not in ``metadata``
    belong to another program, and are not reported.

    :param bind: engine or connection; its ``schema_translate_map`` is honoured.
    :param metadata: of the models; several if the database is shared by several declarative bases.
    """
    if isinstance(bind, Engine):
        with bind.connect() as connection:
            return check(connection, metadata)
    if bind.dialect.name != "postgresql":
        return []
    every = [metadata] if isinstance(metadata, MetaData) else list(metadata)
    schema_of = schema_translation(bind)
    execute = execute_on(bind)
    marked = [
        (t, wanted)
        for one in every
        for t, wanted in marked_sets(one.tables.values(), schema_of).items()
    ]
    found = installed(execute, (wanted for _, wanted in marked))
    drifts = [
        d for table, wanted in marked for d in compare(wanted, found.get(wanted), table.fullname)
    ]
    drifts += (d for one in every if _has_durable(one) for d in _missing_log(bind, one, schema_of))
    names = {wanted: table.fullname for table, wanted in marked if wanted in found}
    drifts += slot_drifts(execute, names)
    if not any(wanted.marking.capture == "wal" for _, wanted in marked):
        drifts += _idle_slots(execute, every, schema_of)
    drifts += _log_drifts(execute, names, found)
    drifts += _foreign_children(execute, names)
    drifts += _heirs(execute, names)
    default: str = bind.execute(text("SELECT pg_catalog.current_schema()")).scalar() or "public"
    known = {(wanted.schema or default, wanted.function_name) for _, wanted in marked}
    tables = {
        (schema_of(t.schema) or default, t.name) for one in every for t in one.tables.values()
    }
    return [*dict.fromkeys(drifts), *_left_over(execute, known, tables)]


def _idle_slots(
    execute: Execute, every: Iterable[MetaData], schema_of: Callable[[str | None], str | None]
) -> Iterator[Drift]:
    """Yield the slots of logs none of whose tables is captured any more, which would fill the disk."""
    for log in filter(None, map(find_log, every)):
        slot = find_slot(execute, LogNames(schema_of(log.names.schema)))
        if slot is not None and slot.exists:
            fix = (
                "Stop the capture once it has captured what was written before, and run "
                f"SELECT pg_drop_replication_slot('{slot.name}'); DROP PUBLICATION IF EXISTS {quote(slot.publication)}."
            )
            yield Drift("left over", log.head.fullname, f"the replication slot {slot.name}", fix)


def _has_durable(metadata: MetaData) -> bool:
    return any(
        (marking := marking_of(t)) is not None and marking.durable for t in metadata.tables.values()
    )


def _missing_log(
    connection: Connection, metadata: MetaData, schema_of: Callable[[str | None], str | None]
) -> list[Drift]:
    """Return a difference for each table of the change log that does not exist."""
    log = find_log(metadata)
    names = (
        {}
        if log is None
        else {t.fullname: LogNames(schema_of(t.schema)).of(t.name) for t in log.tables}
    )
    sql = text("SELECT pg_catalog.to_regclass(:name)::oid::bigint")
    absent = (
        name
        for name, quoted in names.items()
        if connection.execute(sql, {"name": quoted}).scalar() is None
    )
    return [
        Drift(
            "missing",
            name,
            "the table",
            "Run metadata.create_all(engine), or the migration that makes it.",
        )
        for name in absent
    ]


def _log_drifts(
    execute: Execute, names: dict[TriggerSet, str], found: dict[TriggerSet, Installed]
) -> Iterator[Drift]:
    """Yield the rights on the log that the owners of the functions of durable tables lack, and what
    lets other roles run code with the rights of these owners."""
    functions = {
        function: w
        for w in names
        if w.marking.durable
        and w.marking.capture != "wal"
        and (function := found[w].function_oid) is not None
    }
    logs = [(function, w.marking.log_schema) for function, w in functions.items()]
    for function, faults in log_faults(execute, logs).items():
        for fault in faults:
            fix = f"{fault.effect} {fault.fix}"
            yield Drift(
                "conflicting", names[functions[function]], f"the change log's {fault.what},", fix
            )
    lacking = lacking_rights(execute, logs)
    for function, rights in lacking.items():
        fix = f"{rights.role} owns the trigger function and lacks {rights.lacking}. As the owner of the log, run: {rights.grants}"
        yield Drift(
            "missing",
            names[functions[function]],
            f"rights of the role {rights.role} on the change log",
            fix,
        )


def _foreign_children(execute: Execute, names: dict[TriggerSet, str]) -> Iterator[Drift]:
    """Yield the foreign tables below tables whose triggers collect the rows of their
    descendants."""
    for wanted, children in foreign_children_of(execute, names).items():
        for schema, name in children:
            fix = f"PostgreSQL cannot collect its changes for the triggers, and writes that reach it fail. {DETACH}"
            yield Drift(
                "conflicting",
                names[wanted],
                f"the foreign table {quote(schema)}.{quote(name)} below the triggers",
                fix,
            )


def _heirs(execute: Execute, names: dict[TriggerSet, str]) -> Iterator[Drift]:
    """Yield the tables that inherit from tables whose triggers run for each row."""
    asked = [
        (s, kinds)
        for s in names
        if (kinds := kinds_with_heirs(s.marking.triggered, s.marking.for_each))
    ]
    found = heirs(execute, ((literal(s.qualified_table), kinds) for s, kinds in asked))
    for place, children in found.items():
        table = names[asked[place][0]]
        for schema, name in children:
            object_ = f"the table {quote(schema)}.{quote(name)} below the triggers"
            fix = f"What UPDATE and DELETE of {table} change in it is not published. {HEIRS_HINT}"
            yield Drift("conflicting", table, object_, fix)


def foreign_children_of(
    execute: Execute, sets: Iterable[TriggerSet]
) -> dict[TriggerSet, list[tuple[str, str]]]:
    """Return the foreign tables below the tables of ``sets`` that make writes fail, by schema and
    name."""
    asked = [
        (s, kinds)
        for s in sets
        if (kinds := collecting_kinds(s.marking.triggered, s.marking.for_each))
    ]
    found = foreign_children(execute, ((literal(s.qualified_table), kinds) for s, kinds in asked))
    return {asked[place][0]: children for place, children in found.items()}


def _left_over(
    execute: Execute, known: set[tuple[str, str]], tables: set[tuple[str, str]]
) -> list[Drift]:
    """Return the trigger functions for tables of the metadata that no marking asks for.

    :param known: schema and name of the functions that markings ask for; ``tables`` schema and name
        of all tables of the metadata.
    """
    drifts: dict[tuple[str, str], Drift] = {}
    for f in functions(execute):
        named_after = (f.comment or {}).get("table") or f.name.removeprefix(FUNCTION_PREFIX)
        place = (f.table_schema, f.table) if f.table else (f.schema, named_after)
        if (f.schema, f.name) not in known and place in tables:
            fix = f'DROP FUNCTION "{f.schema}"."{f.name}"() CASCADE, unless another program marks the table: then check its MetaData too.'
            table = f"{f.table_schema}.{f.table}" if f.table else f.schema
            drifts[f.schema, f.name] = Drift("left over", table, f"function {f.name}", fix)
    return list(drifts.values())
