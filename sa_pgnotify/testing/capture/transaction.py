"""The events that a transaction would publish at its COMMIT, read within the transaction.

It serves tests that are rolled back. PostgreSQL sends nothing before COMMIT, does not show what
waits to be sent, and forgets it at ROLLBACK. So for the length of the transaction the tables have a
second set of triggers, made from the same marking by the same template. These write into a log of
temporary tables instead of sending, and the log's rows are decoded as a listener decodes them. All
of it is made within the transaction, and is rolled back with it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, MetaData, event

from ...drivers import ListenConnection, connect
from ...errors import NotifyConfigError, PgNotifyError
from ...events.decoding import TableDecoder
from ...events.kinds import Event
from ...events.message import Message
from ...events.stream import EventStream
from ...log.tables import ChangeLog
from ...marking.sources import expand
from ...protocol.wire import logged_rows
from ...sql import execute_on, literal, quote_always, schema_translation
from ...triggers.catalog import installed, marked_sets
from ...triggers.column_sql import FAMILIES
from ...triggers.drift import compare, triggers_missing
from ...triggers.install_statement import InstallStatements, create_trigger
from ...triggers.trigger_set import TriggerSet

__all__ = ["Transaction"]

TEMPORARY = "pg_temp"


@dataclass(frozen=True, kw_only=True)
class _Catching(TriggerSet):
    """Triggers beside those of a table, which write into the temporary log what those would
    send."""

    @classmethod
    def beside(cls, triggers: TriggerSet) -> _Catching:
        marking = replace(
            triggers.marking,
            durable=True,
            capture="triggers",
            log_schema=TEMPORARY,
            channel=None,
        )
        return cls(
            table=triggers.table,
            schema=triggers.schema,
            marking=marking,
            columns=triggers.columns,
            version=triggers.version,
        )

    @property
    def function_schema(self) -> str:
        return TEMPORARY

    @property
    def quoted_function(self) -> str:
        said = hashlib.sha256(self.qualified_table.encode()).hexdigest()[:16]
        return quote_always(f"sa_pgnotify_caught_{said}")

    @property
    def install(self) -> str:
        statements = InstallStatements(self)
        triggers = [
            create_trigger(
                self.marking.for_each, operation, name.replace("pgnotify", "pgnotify_caught")
            )
            for operation, name in self.trigger_names.items()
        ]
        return statements.run([*statements.create_function, *triggers])


class Transaction:
    """The events of some entities that the transaction of a connection would publish, from now on.

    :param connection: a connection in a transaction that will be rolled back.
    :raises TriggersMissing: if a table has no enabled triggers.
    :raises NotifyConfigError: if the connection is not in a transaction.
    """

    def __init__(self, connection: Connection, sources: tuple[Any, ...]) -> None:
        if not connection.in_transaction():
            raise NotifyConfigError(
                "CapturedChanges",
                "this connection is not in a transaction that could be rolled back",
                "Call connection.begin() before, or pass the Engine to capture what is committed",
            )
        wanted = expand(sources)
        if wanted.channels:
            raise NotifyConfigError(
                "CapturedChanges",
                "a plain channel carries nothing before COMMIT",
                "Pass the Engine, and commit",
            )
        self._connection = connection
        self._execute = execute_on(connection)
        self._stream = EventStream()
        self._log = ChangeLog(MetaData(), schema=TEMPORARY)
        self._sources: dict[str, TableDecoder] = {}
        sets = marked_sets(wanted.tables, schema_translation(connection))
        found = installed(self._execute, sets.values())
        silent = {
            t: [
                d for d in compare(s, found.get(s), t.fullname) if d.kind in ("missing", "disabled")
            ]
            for t, s in sets.items()
        }
        if lines := {table.fullname: said for table, said in silent.items() if said}:
            raise triggers_missing(lines)
        # before anything is made that would stay after a COMMIT
        event.listen(connection, "commit", _refuse_commit)
        event.listen(connection, "savepoint", self._before_savepoint)
        self._triggers = [_Catching.beside(triggers) for triggers in sets.values()]
        self._install()
        self._decoding: ListenConnection = connect(connection.engine)
        readers = self._decoding.readers(
            oid for there in found.values() for oid in there.types.values()
        )
        for table, triggers in sets.items():
            there, interest = found[triggers], wanted.tables[table]
            types = {
                name: FAMILIES[family].code
                for name, family in triggers.parameters["columns"].items()
            }
            key, dialect = triggers.marking.key, connection.dialect
            self._sources[there.relation] = TableDecoder(
                table, interest.mapper, interest.accepts, key, dialect, there.types, readers, types
            )

    def _install(self) -> None:
        log = self._log
        if not self._exists("class", log.names.head):
            log.head.metadata.create_all(self._connection, [log.head, *log.slots], checkfirst=False)
        for triggers in self._triggers:
            self._execute(triggers.install)
        ((newest,),) = self._execute(
            f"SELECT coalesce(pg_catalog.max(id), 0) FROM {log.names.rows} AS log"
        )
        self._read = int(newest)

    def _is_there(self) -> bool:
        return self._exists("procedure", f"{self._triggers[0].qualified_function}()")

    def _exists(self, kind: str, name: str) -> bool:
        ((there,),) = self._execute(f"SELECT pg_catalog.to_reg{kind}({literal(name)}) IS NOT NULL")
        return bool(there)

    def _before_savepoint(self, *_: object) -> None:
        """Install the triggers again, if a session that joins the transaction has rolled back to a
        savepoint from before they were made. The session begins its next part with a savepoint."""
        if not self._is_there():
            self._install()

    def read(self) -> list[Event]:
        """Return the events since the last call."""
        if self._connection.closed:
            raise PgNotifyError(
                "the transaction that is captured has ended, and its session has given the connection back",
                "Bind the session to a "
                'connection whose transaction the test rolls back: Session(connection, join_transaction_mode="create_savepoint")',
            )
        if not self._is_there():
            self._install()
            return []  # everything was rolled back
        asked = f"SELECT id, pid, relation, header, rows FROM {self._log.names.rows} AS log WHERE id > {self._read} ORDER BY id"
        events: list[Event] = []
        for number, pid, relation, header, rows in self._execute(asked):
            self._read = number
            source = self._sources.get(relation)
            if source is None:
                continue  # a table of another capture
            found = logged_rows(header, rows, pid)
            for item in self._stream._decoded({relation: source}, found, "transaction"):
                if not isinstance(item, Message):
                    events.append(item)
                    continue
                messages = [item]
                if item.has_server_read_fields:
                    messages = item.resolve_on_server(self._decoding.read)
                for message in messages:
                    events += self._stream.events(message)
        return events

    def close(self) -> None:
        """Stop reading. The rollback removes what was made in the transaction."""
        event.remove(self._connection, "savepoint", self._before_savepoint)
        self._decoding.close()


def _refuse_commit(connection: Connection) -> None:
    raise PgNotifyError(
        "CapturedChanges reads this transaction by triggers that must not stay, so it can only be rolled back",
        "Use a savepoint "
        '(join_transaction_mode="create_savepoint"), or capture what is committed: give CapturedChanges the Engine',
    )
