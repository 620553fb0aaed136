"""The classic asyncnotify program: a Twisted reactor tells what happens to two tables, and what
comes on plain channels.

Run it (it needs Twisted, and makes the tables), and in psql, on the same database, what follows::

    python examples/twisted_asyncnotify.py postgresql+psycopg2:///shop

    NOTIFY test1; NOTIFY test2;                          -- test2: only for the first 15 seconds, or --delay
    INSERT INTO table1 (message) VALUES ('hello');       -- and the same with table2
    UPDATE table1 SET message = 'hello, world';
    DELETE FROM table1;
    NOTIFY quit;

The reactor watches the listener's descriptor, and never waits for the database: what has to, does
so in the thread pool. A lost server is told as a gap, and the listener comes back by itself. An
error stops everything, with its message and exit code 1. So it is with ``--without-key``, which
marks table1 as the original program had it.
"""

import argparse
from itertools import islice

from sqlalchemy import Column, Engine, MetaData, Table, Text, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from twisted.internet import interfaces, reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from sa_pgnotify import Change, Event, Gap, Listener, Notification, NotifyOnChange, notify_on_change


class Base(DeclarativeBase):
    id: Mapped[int] = mapped_column(primary_key=True)  # which the original's tables lacked
    message: Mapped[str | None] = mapped_column(Text)


class Table1(NotifyOnChange, Base):
    __tablename__ = "table1"


class Table2(NotifyOnChange, Base):
    __tablename__ = "table2"


@implementer(interfaces.IReadDescriptor)
class ReactorListener:
    """A Listener that the reactor drives. Override :meth:`notified`.

    :ivar finished: fires when it ends: its callback after :meth:`stop` or at the reactor's end, its
        errback after an error.
    """

    def __init__(self, engine: Engine, *sources: object) -> None:
        self._listener = Listener(engine, *sources)
        self.finished: Deferred[None] = Deferred()

    def notified(self, event: Event) -> None:
        """Called for each event, in order, in the reactor's thread."""

    def start(self) -> Deferred[None]:
        """Fires when it listens; fails as ``Listener.start`` does, also if it listens already."""
        return deferToThread(self._listener.start).addCallback(lambda _: reactor.addReader(self))

    def subscribe(self, *sources: object) -> Deferred[None]:
        return deferToThread(self._listener.subscribe, *sources)

    def unsubscribe(self, *sources: object) -> Deferred[None]:
        return deferToThread(self._listener.unsubscribe, *sources)

    def stop(self, error: Exception | None = None) -> None:
        """Tell nothing more. To be called in the reactor's thread, once it has started."""
        if not self.finished.called:
            reactor.removeReader(self)  # before the descriptor is closed
            self._listener.stop()
            self.finished.callback(None) if error is None else self.finished.errback(error)

    def fileno(self) -> int:
        return self._listener.fileno()

    def doRead(self) -> None:  # noqa: N802 (Twisted's name)
        try:
            # while there are more, the reactor comes back
            for event in islice(self._listener.events(timeout=0), 100):
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
        # which refuses an engine that would not do
        printer = Printer(engine, "test1", "test2", "quit", Table1, Table2)
        await deferToThread(Base.metadata.create_all, engine)
        await printer.start()
        print("listening to test1, test2, quit, table1, table2")
        removal = task.deferLater(reactor, options.delay, printer.unsubscribe, "test2")
        removal.addCallbacks(
            lambda _: print("test2: unsubscribed"),
            lambda why: print("test2: still subscribed:", why.value),
        )
        await printer.finished
        print("stopped")
    except Exception as error:  # react() then stops the reactor, tells this, and exits with 1
        raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "url",
        nargs="?",
        default="postgresql+psycopg2:///shop",
        help="the database, default %(default)s",
    )
    parser.add_argument(
        "--delay",
        type=float,
        default=15.0,
        help="seconds until test2 is unsubscribed, default %(default)s",
    )
    parser.add_argument(
        "--without-key",
        action="store_true",
        help="show how a table without a primary key is refused",
    )
    task.react(main, [parser.parse_args()])
