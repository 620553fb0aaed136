"""The classic asyncnotify program: a Twisted reactor tells what happens to two tables, and what comes on plain channels.

Run it (it needs ``twisted``, and makes the tables), and in psql on the same database what follows::

    python examples/twisted_asyncnotify.py postgresql+psycopg2:///shop

    NOTIFY test1; NOTIFY test2;                          -- test2: only in the first 15 seconds, or --delay
    INSERT INTO table1 (message) VALUES ('hello');       -- and the same with table2
    UPDATE table1 SET message = 'hello, world';
    DELETE FROM table1;
    NOTIFY quit;

The reactor watches the listener's descriptor, and never waits for the database: what does, runs in its thread pool. A lost server is
told as a gap, and the listener comes back by itself. An error stops everything, with its message and an exit code of 1; so does
``--without-key``, which marks the table of the original program: that had no primary key.
"""

import argparse
from itertools import islice
from typing import Any

from sqlalchemy import Column, Engine, MetaData, Table, Text, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from sa_pgnotify import Change, Event, Gap, Listener, Notification, NotifyOnChange, notify_on_change


class Base(DeclarativeBase):
    """Of tables with a message; the key is what the original's lacked."""

    id: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[str | None] = mapped_column(Text)


class Table1(NotifyOnChange, Base):
    __tablename__ = "table1"


class Table2(NotifyOnChange, Base):
    __tablename__ = "table2"


@implementer(IReadDescriptor)
class ReactorListener:
    """A Listener that the reactor drives. Override :meth:`notified`.

    :ivar finished: fires when it ends: its callback after :meth:`stop` or at the reactor's end, its errback after an error.
    """

    def __init__(self, engine: Engine, *sources: Any) -> None:
        self._listener = Listener(engine, *sources)
        self.finished: Deferred[None] = Deferred()

    def notified(self, event: Event) -> None:
        """Called for each event, in order, in the reactor's thread."""

    def start(self) -> Deferred[None]:
        """Fires when it listens; fails as ``Listener.start`` does, also if it listens already."""
        return deferToThread(self._listener.start).addCallback(self._watch)

    def _watch(self, _: Listener) -> None:
        if self.fileno() != -1:  # else it was stopped meanwhile
            reactor.addReader(self)

    def subscribe(self, *sources: Any) -> Deferred[None]:
        return deferToThread(self._listener.subscribe, *sources)

    def unsubscribe(self, *sources: Any) -> Deferred[None]:
        return deferToThread(self._listener.unsubscribe, *sources)

    def stop(self, error: Exception | None = None) -> None:
        """Tell nothing more, from now on. To be called in the reactor's thread."""
        reactor.removeReader(self)  # before stop(), which closes the descriptor
        self._listener.stop()
        if not self.finished.called:
            self.finished.callback(None) if error is None else self.finished.errback(error)

    def fileno(self) -> int:
        return self._listener.fileno()

    def doRead(self) -> None:  # noqa: N802 (Twisted's name)
        try:
            for event in islice(self._listener.events(timeout=0), 100):  # while there are more, the reactor comes back
                self.notified(event)
        except Exception as error:
            self.stop(error)

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        """The reactor ends, by a signal for example."""
        self.stop()

    def logPrefix(self) -> str:  # noqa: N802
        return "sa_pgnotify"


class Printer(ReactorListener):
    def notified(self, event: Event) -> None:
        match event:
            case Change():
                print(f"{event.table.name}: {type(event).__name__.lower()} by {event.backend_pid}")
            case Notification("quit"):
                self.stop()
            case Notification(channel, _, pid):
                print(f"{channel}: notified by {pid}")
            case Gap(reason):
                print(f"gap: {reason}, events may be missing")


async def main(_: object, options: argparse.Namespace) -> None:
    try:
        if options.without_key:
            notify_on_change(Table("table1", MetaData(), Column("message", Text)))
        engine = create_engine(options.url)
        await deferToThread(Base.metadata.create_all, engine)
        printer = Printer(engine, "test1", "test2", "quit", Table1, Table2)
        await printer.start()
        print("listening to test1, test2, quit, table1, table2")
        removal = deferLater(reactor, options.delay, printer.unsubscribe, "test2")
        removal.addCallbacks(lambda _: print("test2: unsubscribed"), lambda why: print("test2: still subscribed,", why.getErrorMessage()))
        await printer.finished
        print("stopped")
    except Exception as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error  # react() stops the reactor, and exits with 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", nargs="?", default="postgresql+psycopg2:///shop", help="the database, default %(default)s")
    parser.add_argument("--delay", type=float, default=15.0, help="seconds until test2 is unsubscribed, default %(default)s")
    parser.add_argument("--without-key", action="store_true", help="show how a table without primary key is refused")
    react(main, [parser.parse_args()])
