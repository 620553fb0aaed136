"""Delivery under chaos, for minutes: ``python benchmarks/chaos.py --minutes 12``.

It runs rounds of a minute each on a primary and a standby that it starts itself: see
``tests/support/turmoil``. The table at the end adds them up. The exit code is 1 if any change was neither
delivered nor covered by a Gap, came twice, was made up or came after a later change of its row, or
if fewer changes were written than were asked for.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
ROUND = 60.0


def main() -> int:
    from binaries import CHOICE, NEWEST, VERSIONS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 20))
    parser.add_argument("--postgres", choices=VERSIONS, default=NEWEST)
    parser.add_argument(
        "--every", type=float, default=2.0, help="mean seconds of quiet between two disturbances"
    )
    parser.add_argument(
        "--ephemeral",
        type=int,
        default=100_000,
        help="changes that must have been written at least",
    )
    parser.add_argument("--durable", type=int, default=50_000)
    options = parser.parse_args()
    os.environ[CHOICE] = options.postgres
    from turmoil.rounds import Round
    from turmoil.verdict import Verdict
    from turmoil.world import World

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    # what is disturbed complains
    logging.getLogger("sa_pgnotify").addHandler(logging.NullHandler())
    print(f"seed {options.seed}, PostgreSQL {options.postgres}", flush=True)
    total, number = Verdict(), 0
    until = time.monotonic() + 60 * options.minutes
    heartbeat = 0.5
    with World(heartbeat) as world:
        while (left := until - time.monotonic()) > 0:
            seconds = min(ROUND, max(5.0, left))
            verdict = Round(
                world, f"{options.seed}-{number}", seconds, options.every, heartbeat=heartbeat
            ).run()
            total.add(verdict)
            right = "right" if verdict.is_right else "WRONG"
            print(
                f"round {number}: {right}, {verdict.ephemeral + verdict.durable:,} changes",
                *verdict.findings,
                sep="\n",
                flush=True,
            )
            number += 1
    print(f"\nseed {options.seed}, {number} rounds\n{total}", flush=True)
    enough = total.ephemeral >= options.ephemeral and total.durable >= options.durable
    if not enough:
        print(
            f"WRONG: fewer than {options.ephemeral:,} ephemeral or {options.durable:,} durable changes were written"
        )
    return 0 if total.is_right and enough else 1


if __name__ == "__main__":
    sys.exit(main())
