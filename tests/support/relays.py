"""Relays in threads of the tests, and sinks that end them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Self

from sa_pgnotify.relay import JetStream, Message, Relay


class Died(BaseException):
    """Stands for the death of the process."""


class Mortal(JetStream):
    """Dies once it has published, or, with ``before``, when it would."""

    before = False

    def publish(self, messages: Sequence[Message], place: str) -> None:
        if not self.before:
            super().publish(messages, place)
        raise Died


class Running:
    """A relay in a thread.

    :ivar states: the states that it has reported.
    :ivar error: what has ended it.
    """

    def __init__(self, relay: Relay, states: list[Any] | None = None) -> None:
        self.relay = relay
        self.states: list[Any] = [] if states is None else states
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.relay.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.relay.stop()
        self.join()

    def join(self) -> BaseException | None:
        """Wait for its end, and return the error that ended it."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error

    def has_been(self, state: str) -> bool:
        return any(change.state == state for change in self.states)
