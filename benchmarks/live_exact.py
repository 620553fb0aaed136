"""Compare live queries with their statements, many times: ``python benchmarks/live_exact.py``.

It follows random statements on tables with random writes, and cuts connections. After each round it
compares the result that the steps lead to with the result of the statement: see
``tests/support/live_turmoil.py``. The exit code is 1 if a step was inconsistent or a result
differed.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
DURABLE = [(True,) * 3, (False,) * 3, (True, False, True)]


def main() -> int:
    from binaries import CHOICE, NEWEST, VERSIONS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 20))
    parser.add_argument("--postgres", choices=VERSIONS, default=NEWEST)
    options = parser.parse_args()
    os.environ[CHOICE] = options.postgres
    from live_turmoil import follow
    from servers import Server, data_folder
    from sqlalchemy import NullPool, create_engine

    logging.getLogger("sa_pgnotify").addHandler(logging.NullHandler())  # hide lost connections
    print(f"seed {options.seed}, PostgreSQL {options.postgres}", flush=True)
    compared, wrong, number = 0, 0, 0
    with data_folder() as data, Server(data) as server:
        admin = create_engine(server.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        while compared < options.comparisons:
            name = f"live_{uuid.uuid4().hex[:12]}"
            with admin.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            engine = create_engine(server.url.set(database=name), poolclass=NullPool)
            durable = DURABLE[number % len(DURABLE)]
            seed = options.seed + number
            found, some = follow(engine, seed, durable, queries=12, rounds=60, cuts=0.03)
            for difference in found:
                print(f"seed {seed}, durable {durable}: {difference}", flush=True)
            compared, wrong, number = compared + some, wrong + len(found), number + 1
            print(f"{compared:,} comparisons, {wrong} differences", flush=True)
            with admin.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
