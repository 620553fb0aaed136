"""Relays into Kafka and Redis under kills: ``python benchmarks/relay_sinks.py --changes 100000``.

It starts PostgreSQL and the brokers itself, and runs rounds of :class:`sa_pgnotify.testing.ClusterCheck`
until as many changes were committed for each broker. Relays are killed, lose their sessions, and wake as
zombies; Redis is killed and started again, and Kafka's connections are cut. The exit code is 1 if any
change is missing, came twice or out of order, or if a transaction came in pieces.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples")]


def main() -> int:
    from kafka_broker import kafka_gateway
    from redis_server import redis_server
    from servers import Server, data_folder
    from sink_brokers import KafkaBroker, RedisBroker

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=100_000, help="for each broker")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each round")
    parser.add_argument(
        "--every", type=float, default=2.0, help="mean seconds of quiet between two disturbances"
    )
    parser.add_argument("--only", choices=("kafka", "redis"))
    options = parser.parse_args()
    logging.getLogger("sa_pgnotify").addHandler(logging.NullHandler())
    right = True
    with data_folder() as data, Server(data) as server, kafka_gateway() as gateway:
        server.hurry()
        with redis_server() as store:
            kafka, redis = KafkaBroker(gateway), RedisBroker(store)
            ways = {
                "kafka": (kafka, {"cut": gateway.cut}, kafka.create),
                "redis": (redis, {"restart": lambda: restart(redis)}, lambda _: None),
            }
            for name, way in ways.items():
                if options.only in {None, name}:
                    right &= killed(server.url, name, way, options)
    return 0 if right else 1


def restart(broker: Any) -> None:
    broker.leave()
    broker.come_back()


def killed(url: Any, name: str, way: Any, options: Any) -> bool:
    """Run rounds until there are enough changes, and return whether all is right."""
    from sa_pgnotify.testing import ClusterCheck

    broker, disturbances, prepare = way
    committed, delivered, made, findings = 0, 0, Counter[str](), list[str]()
    began, number = time.monotonic(), 0
    while committed < options.changes:
        stream = f"{name}{number}"
        prepare(stream)

        def read(stream: str = stream) -> list[bytes]:
            return [json.dumps(entry.body).encode() for entry in broker.entries(stream)]

        report = ClusterCheck(
            url,
            broker.url,
            stream,
            read,
            seconds=options.seconds,
            batch_size=200,
            slowness=0.02,
            every=options.every,
            seed=number,
            disturbances=disturbances,
            patience=240.0,
        ).run()
        committed += report.committed
        delivered += sum(report.delivered.values())
        made.update(report.disturbances)
        try:
            report.raise_if_wrong()
        except AssertionError as error:
            findings.append(f"round {number}: {error}")
        number += 1
        print(f"{name}: {committed:,} committed, {delivered:,} delivered", *findings, flush=True)
    minutes = (time.monotonic() - began) / 60
    print(
        f"{name}: {'WRONG' if findings else 'right'} in {minutes:.1f} min; {dict(made)}", flush=True
    )
    return not findings


if __name__ == "__main__":
    sys.exit(main())
