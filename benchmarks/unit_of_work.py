"""What the marker costs the ORM's unit of work: ``python benchmarks/unit_of_work.py``.

A session adds 1,000 objects, changes one attribute of each, and deletes them; each step is one
flush, timed with its commit. SQLAlchemy inserts many rows in one statement, and updates and deletes
one row in each. A listener in a process of its own receives the events. In each round all forms
take their turns, in another order each time; printed are medians, and medians of the ratios to the
table without a marker: of the time, and of the processor's time of the session's server process,
which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import time
from collections import defaultdict
from decimal import Decimal
from multiprocessing.synchronize import Event
from pathlib import Path

import server
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sa_pgnotify import Listener, NotifyOnChange, NotifySpec

FORMS: dict[str, NotifySpec | None] = {
    "no marker": None,
    **{
        f'{"durable, " if durable else ""}for_each="{for_each}"{", all values" if values else ""}': (
            NotifySpec(for_each=for_each, durable=durable, values=values)
        )
        for durable in (False, True)
        for values in ((), "all")
        for for_each in ("statement", "row")
    },
}
STEPS = ("add", "change", "delete")


class Base(DeclarativeBase):
    pass


def model(number: int, spec: NotifySpec | None) -> type:
    """Return a class of six columns, marked with ``spec`` unless that is None."""
    body = {
        "__tablename__": f"orders_{number}",
        "__notify__": spec,
        "__annotations__": {
            "id": Mapped[int],
            "name": Mapped[str],
            "region": Mapped[str],
            "price": Mapped[Decimal],
            "amount": Mapped[int],
            "open": Mapped[bool],
        },
        "id": mapped_column(primary_key=True, autoincrement=False),
    }
    return type(f"Order{number}", (NotifyOnChange, Base), body)


MODELS = {name: model(number, spec) for number, (name, spec) in enumerate(FORMS.items())}


def listen(url: str, ready: Event, done: Event) -> None:
    with Listener(create_engine(url), Base) as listener:
        ready.set()
        while not done.is_set():
            for _ in listener.events(timeout=0.2):
                pass


def processor_time(pid: int) -> float:
    """Return the seconds that a process of this machine has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def turn(engine: Engine, entity: type, count: int) -> dict[str, tuple[float, float]]:
    """Return the seconds of each step, and those of the server's processor."""
    taken = {}
    with Session(engine) as session:
        pid: int = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        made = [
            entity(id=i, name=f"name {i}", region="eu", price=Decimal(i) / 7, amount=i, open=True)
            for i in range(count)
        ]

        def timed(step: str) -> None:
            started, worked = time.perf_counter(), processor_time(pid)
            session.commit()
            taken[step] = time.perf_counter() - started, processor_time(pid) - worked

        session.add_all(made)
        timed("add")
        made = list(session.query(entity))
        for each in made:
            each.amount += 1  # type: ignore[attr-defined]
        timed("change")
        made = list(session.query(entity))
        for each in made:
            session.delete(each)
        timed("delete")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="of a server; default: one in a temporary directory")
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with server.running(options.url) as maintenance, server.database(maintenance) as url:
        engine = create_engine(url)
        Base.metadata.create_all(engine)
        context = multiprocessing.get_context("spawn")
        ready, done = context.Event(), context.Event()
        address = url.render_as_string(hide_password=False)
        listener = context.Process(target=listen, args=(address, ready, done))
        listener.start()
        ready.wait(30)
        found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for number in range(options.rounds + 1):
            names = list(FORMS)
            random.shuffle(names)
            for name in names:
                taken = turn(engine, MODELS[name], options.objects)
                if number:  # the first round warms up
                    for step, seconds in taken.items():
                        found[name, step].append(seconds)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM"))
        done.set()
        listener.join()
        engine.dispose()
    for place, what in enumerate(("time", "processor's time in the server")):
        print(f"{options.objects:,} objects, {what}: ms, and times as much as without the marker")
        for name in FORMS:
            cells = []
            for step in STEPS:
                mine, bare = ([s[place] for s in found[n, step]] for n in (name, "no marker"))
                ratio = statistics.median(a / b for a, b in zip(mine, bare))
                cells.append(f"{step} {statistics.median(mine) * 1e3:7.1f} {ratio:5.2f}")
            print(f"{name:42}" + "   ".join(cells))


if __name__ == "__main__":
    main()
