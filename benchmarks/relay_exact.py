"""A relay into a JetStream cluster under disturbances, for minutes: ``python benchmarks/relay_exact.py
--minutes 3``.

Three NATS servers keep a stream of three replicas. Two relays of one name are killed, lose their
sessions, and wake as zombies, while the leader of the stream is killed and started again, and
PostgreSQL's connections are cut. In the end the stream must have each committed change once, in the
order of its row, and whole transactions. It stops at the first finding, with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import server

from sa_pgnotify.testing import ClusterCheck

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))
from brokers import Nats, nats_cluster
from proxy import Proxy

ROUND = 60.0


def create(cluster: list[Nats], stream: str) -> None:
    """Make the stream, as soon as the servers have found each other."""
    config = {
        "subjects": [f"{stream.lower()}.>"],
        "num_replicas": len(cluster),
        "allow_atomic": True,
    }
    deadline = time.monotonic() + 60
    while True:
        with suppress(Exception):  # the servers have not elected a leader
            answer = cluster[0].api(f"STREAM.CREATE.{stream}", name=stream, **config)
            if "error" not in answer:
                return
        assert time.monotonic() < deadline
        time.sleep(0.5)


def leader_dies(cluster: list[Nats], stream: str) -> Callable[[], None]:
    """What kills the leader of the stream, and starts it again."""

    def die() -> None:
        try:
            info = cluster[0].api(f"STREAM.INFO.{stream}")
            number = int(info["cluster"]["leader"].removeprefix("n"))
        except Exception:  # there is no leader at the moment
            return
        cluster[number].kill()
        time.sleep(1.0)
        cluster[number].start()

    return die


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a server's maintenance database, as a superuser")
    parser.add_argument("--minutes", type=float, default=3.0)
    given = parser.parse_args()
    until, changes, made = time.monotonic() + 60 * given.minutes, 0, Counter[str]()
    with server.running(given.url) as admin, nats_cluster() as cluster:
        number = 0
        while (left := until - time.monotonic()) > 5:
            stream, number = f"CHECK{number}", number + 1
            create(cluster, stream)

            def read(stream: str = stream) -> list[bytes]:
                return [json.dumps(m.body).encode() for m in cluster[0].messages(stream)]

            with server.database(admin) as url, Proxy(url) as proxy:
                report = ClusterCheck(
                    url,
                    ",".join(one.url for one in cluster),
                    stream,
                    read,
                    relay_url=proxy.url,
                    seconds=min(ROUND, left),
                    seed=number,
                    batch_size=100,
                    disturbances={"leader": leader_dies(cluster, stream), "cut": proxy.cut},
                ).run()
            changes, made = changes + report.committed, made + report.disturbances
            print(report, flush=True)
            if not report.is_right:
                return 1
    print(f"{changes:,} changes, {dict(made)}: each once, in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
