"""How a command that runs until it is ended hears of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["stopped_by_signals"]


@contextmanager
def stopped_by_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM call ``stop``; a second one ends the program as usual."""

    def handle(number: int, _: Any) -> None:
        signal.signal(number, former[signal.Signals(number)])
        stop()

    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in former:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
