"""The handler's database: sessions of the program, and the places of one consumer in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from ..errors import NotifyConfigError
from ..sql import execute_on, table_name
from ..triggers.log_trust import table_faults
from .continuity import goes_on
from .places import Place, Places
from .stream_client import StreamClient, StreamState

__all__ = ["Adopted", "HandlerDatabase"]

T = TypeVar("T")


class Adopted(NamedTuple):
    """What a member found when it took partitions over.

    :ivar places: by partition, the number of the last message that was handled.
    :ivar outdated: partitions whose epoch is known to the database with another member, with the
        newest epoch.
    :ivar lost: why messages are missing before the places; empty if none are.
    """

    places: dict[int, int]
    outdated: dict[int, int]
    lost: str


class HandlerDatabase:
    """The database of a consumer's handler.

    :param make_session: creates a session, or an AsyncSession.
    """

    def __init__(self, places: Places, make_session: Callable[[], Any], name: str) -> None:
        self.places = places
        self.make_session = make_session
        self._name = name

    @contextmanager
    def _session(self) -> Iterator[Any]:
        session = self.make_session()
        sync = getattr(session, "sync_session", session)
        try:
            yield sync
        finally:
            sync.close()

    def transact(self, function: Callable[[Connection], T]) -> T:
        """Call a function with a connection, in a transaction of its own."""
        with self._session() as session:
            result = function(session.connection())
            session.commit()
            return result

    def refuse_autocommit(self, connection: Connection) -> None:
        """Refuse sessions without transactions.

        :raises NotifyConfigError: if place and work would not be committed together.
        """
        dialect, raw = connection.dialect, connection.connection.dbapi_connection
        try:
            is_autocommit = dialect.detect_autocommit_setting(raw)  # type: ignore[arg-type]
        except NotImplementedError:
            return  # a dialect that cannot tell
        if is_autocommit:
            raise NotifyConfigError(
                self._name,
                "the batches' sessions are in autocommit, so place and work would not be committed together",
                "Give it a session_factory with transactions",
            )

    def prepare(self, partitions: int, begin: Place) -> None:
        """Create what is missing: the tables, and the rows of a new consumer.

        :raises NotifyConfigError: if the consumer has another number of partitions, or the tables run
            code of roles that are not trusted.
        """
        try:
            known = self.transact(self._load_trusted)
        except DBAPIError:  # there may be no table
            with suppress(DBAPIError):  # another member creates it at the same time
                self.transact(self.places.create_tables)
            known = self.transact(self._load_trusted)
        if not known:
            try:
                self.transact(lambda c: self.places.begin(c, partitions, begin))
            except IntegrityError:  # another member was first
                known = self.transact(self.places.load)
        if known and len(known) != partitions:
            raise NotifyConfigError(
                self._name,
                f"it has the places of {len(known)} partitions, and should have {partitions}",
                "Give all members the same partitions=. To change them, take a new name",
            )

    def _load_trusted(self, connection: Connection) -> dict[int, Place]:
        """Return the places, unless reading or moving them would run another role's code."""
        if connection.dialect.name == "postgresql":
            names = [table_name(connection, table) for table in self.places.tables]
            faults = table_faults(execute_on(connection), names)
            if faults:
                what = "; ".join(fault.what for fault in faults)
                fixes = " ".join(dict.fromkeys(fault.fix for fault in faults))
                raise NotifyConfigError(
                    self._name,
                    f"its tables are not to be trusted: {what}. Code there would run with the rights of {faults[0].role}",
                    f"{fixes} Or give it schema=... with a schema of your own",
                )
        return self.places.load(connection)

    def adopt(
        self, held: Mapping[int, int], member: str, client: StreamClient, state: StreamState
    ) -> Adopted:
        """Let a member move the places of its partitions, and no other from now on.

        :param held: the partitions, with the epochs of their leases.
        """
        known = self.transact(self.places.load)
        for part, epoch in held.items():
            if known[part].epoch < epoch:
                # one by one, because another member may hold one row and wait for another
                self.transact(lambda c, p=part, e=epoch: self.places.adopt(c, p, member, e))  # type: ignore[misc]
        known = self.transact(self.places.load)
        mine = {part: known[part] for part in held if known[part].member == member}
        mine = {part: place for part, place in mine.items() if place.epoch == held[part]}
        outdated = {part: known[part].epoch for part in held if part not in mine}
        # most of them have the same place
        seen = {place[:3]: place for place in mine.values()}
        going_on = {at: goes_on(place, client, state) for at, place in seen.items()}
        places = {part: going_on[place[:3]][0] for part, place in mine.items()}
        lost = next((why for _, why in going_on.values() if why), "")
        return Adopted(places, outdated, lost)

    def is_replaced(self, held: Mapping[int, int], member: str) -> bool:
        """Return whether another member has taken over one of the partitions."""
        known = self.transact(self.places.load)
        return any(
            (known[p].member, known[p].epoch) != (member, epoch) for p, epoch in held.items()
        )
