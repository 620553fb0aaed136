"""A relay, a stream on three NATS nodes, and members that handle it, under chaos for minutes:
``python benchmarks/cluster.py --minutes 12``.

Relays and members are killed and wake as zombies, their sessions are ended, the node that leads the
stream is killed and comes back, and PostgreSQL crashes. In the end the stream must have what was
committed, and the members must have handled it: each change once, in the order of each row, whole
transactions. It prints the report of the :class:`~sa_pgnotify.testing.ClusterCheck`; the exit code is
1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from sa_pgnotify.testing.delivery.tables import EFFECTS, JOURNAL

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
STREAM = "CHECK"


def bodies(urls: list[str]) -> list[bytes]:
    """Read the whole stream, once nothing has come for 3 seconds."""
    import nats

    async def read() -> list[bytes]:
        connection = await nats.connect(urls)
        js = connection.jetstream(timeout=10)
        found: list[bytes] = []
        taken = await js.subscribe(
            ">", stream=STREAM, ordered_consumer=True, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        while True:
            try:
                message = await taken.next_msg(timeout=5)
            except nats.errors.TimeoutError:
                break
            found.append(message.data)
        await connection.close()
        return found

    return asyncio.run(read())


def settled(cluster: Any) -> None:
    """Wait until nothing comes into the stream any more."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 15:
        now = cluster.api(f"STREAM.INFO.{STREAM}").get("state", {}).get("last_seq", last)
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.5)


def progress(engine: Any, cluster: Any, begun: float, every: float) -> None:
    """Print how far everything is, for ever."""
    counts = (
        f"SELECT (SELECT count(*) FROM {JOURNAL.fullname}), "
        f"(SELECT coalesce(sum(json_array_length(seen::json)), 0) FROM {EFFECTS.fullname})"
    )
    while True:
        time.sleep(every)
        with suppress(DBAPIError), engine.connect() as connection:
            ((committed, handled),) = connection.exec_driver_sql(counts)
            stored = cluster.api(f"STREAM.INFO.{STREAM}").get("state", {}).get("messages")
            at = f"{time.monotonic() - begun:4.0f} s"
            print(f"{at}: {committed} committed, {stored} published, {handled} handled", flush=True)


def main() -> int:
    from nats_cluster import nats_cluster
    from servers import Server, data_folder

    from sa_pgnotify.testing import ClusterCheck

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--every", type=float, default=8.0, help="seconds between disturbances")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 20))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    for name in ("sa_pgnotify", "nats"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    print(f"seed {options.seed}", flush=True)
    with nats_cluster() as cluster, data_folder() as data, Server(data) as server:
        cluster.create(STREAM, f"{STREAM.lower()}.>")

        def leader_dies() -> None:
            leader = cluster.kill_leader(STREAM)
            time.sleep(2.0)
            if leader is not None:
                cluster.start_node(leader)
            cluster.wait(
                lambda found: bool(found.get("cluster", {}).get("leader")), f"STREAM.INFO.{STREAM}"
            )

        def crash() -> None:
            server.down("immediate")
            server.up()

        def read() -> list[bytes]:
            settled(cluster)
            return bodies(cluster.urls)

        begun = time.monotonic()
        watching = (server.engine, cluster, begun, 15.0)
        threading.Thread(target=progress, args=watching, daemon=True).start()
        report = ClusterCheck(
            server.url,
            cluster.url,
            STREAM,
            read,
            seconds=60 * options.minutes,
            every=options.every,
            writers=options.writers,
            members=options.members,
            lease=3.0,
            batch_size=500,
            handling=0.2,
            patience=600.0,
            seed=options.seed,
            disturbances={
                "death of the stream's leader": leader_dies,
                "crash of PostgreSQL": crash,
            },
        ).run()
        print(report, f"{time.monotonic() - begun:.0f} s", sep="\n", flush=True)
    return 0 if report.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
