"""The classic asyncnotify program: a Twisted reactor prints changes of two tables, and what arrives
on plain channels.

It needs Twisted, and creates its tables. Run it, and then the statements in psql on the same
database::

    python examples/twisted_asyncnotify.py postgresql+psycopg2:///shop

    NOTIFY test1; NOTIFY test2;                          -- test2: only for the first 15 seconds, or --delay
    INSERT INTO table1 (message) VALUES ('hello');       -- and the same with table2
    UPDATE table1 SET message = 'hello, world';
    DELETE FROM table1;
    NOTIFY quit;

The reactor watches the listener's descriptor, and never waits for the database: calls that wait run
in the thread pool. A lost connection is reported as a gap, and the listener reconnects by itself.
An error stops everything, with its message and exit code 1. ``--without-key`` shows such an error:
it marks table1 as it was in the original program, without a primary key.
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
    id: Mapped[int] = mapped_column(primary_key=True)  # the original's tables had none
    message: Mapped[str | None] = mapped_column(Text)


class Table1(NotifyOnChange, Base):
    __tablename__ = "table1"


class Table2(NotifyOnChange, Base):
    __tablename__ = "table2"


@implementer(interfaces.IReadDescriptor)
class ReactorListener:
    """A Listener that the reactor drives. Override :meth:`notified`.

    :ivar finished: fires when the listener ends: its callback after :meth:`stop` or at the
        reactor's end, its errback after an error.
    """

    def __init__(self, engine: Engine, *sources: object) -> None:
        self._listener = Listener(engine, *sources)
        self.finished: Deferred[None] = Deferred()

    def notified(self, event: Event) -> None:
        """Handle an event. It is called for each event, in order, in the reactor's thread."""

    def start(self) -> Deferred[None]:
        """Start listening. The result fires when it listens, and fails as ``Listener.start`` does,
        also if it listens already."""
        return deferToThread(self._listener.start).addCallback(lambda _: reactor.addReader(self))

    def subscribe(self, *sources: object) -> Deferred[None]:
        return deferToThread(self._listener.subscribe, *sources)

    def unsubscribe(self, *sources: object) -> Deferred[None]:
        return deferToThread(self._listener.unsubscribe, *sources)

    def stop(self, error: Exception | None = None) -> None:
        """Stop listening. Call it in the reactor's thread, after the start."""
        if not self.finished.called:
            reactor.removeReader(self)  # before the descriptor is closed
            self._listener.stop()
            self.finished.callback(None) if error is None else self.finished.errback(error)

    def fileno(self) -> int:
        return self._listener.fileno()

    def doRead(self) -> None:  # noqa: N802 (Twisted's name)
        try:
            # if there are more, the reactor calls this again
            for event in islice(self._listener.events(timeout=0), 100):
                self.notified(event)
        except Exception as error:
            self.stop(error)

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        """Stop, because the reactor ends, for example by a signal."""
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
        # raises if the engine cannot be used
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
    except Exception as error:  # react() then stops the reactor, prints this, and exits with 1
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
