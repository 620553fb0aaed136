"""The changes that one browser has not been sent yet."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

from .message import Message

if TYPE_CHECKING:  # a channel makes its browsers
    from .channel import Channel

__all__ = ["Browser"]


class Browser:
    """One stream of a channel's messages.

    It remembers the keys of changed rows, but not the rows, so that a browser that reads slowly
    needs little memory, and is sent the newest rows.

    :param has: the keys of the rows that have changed since the last message to the browser, each
        with whether the browser has the row; None if it should be sent all rows.
    """

    def __init__(self, channel: Channel, has: Mapping[Hashable, bool] | None) -> None:
        self._channel = channel
        self._has: dict[Hashable, bool] | None = None if has is None else dict(has)
        self._ready = asyncio.Event()

    def note(self, changed: Mapping[Hashable, bool] | None) -> None:
        """Note that rows have changed.

        :param changed: the keys of the rows, each with whether the result had the row before; None
            if all rows should be sent again.
        """
        if changed is None:
            self._has = None
        elif self._has is not None:
            for key, was_there in changed.items():
                self._has.setdefault(key, was_there)
            if len(self._has) > self._channel.most_keys:
                self._has = None
        self._ready.set()

    def wake(self) -> None:
        self._ready.set()

    async def message(self, timeout: float) -> Message | None:  # noqa: ASYNC109 (of silence)
        """Wait for the next message, and return it.

        None if there is nothing to send, at the latest after ``timeout`` seconds.

        :raises Ended: if the channel has ended.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._ready.wait()
        except TimeoutError:
            return None
        self._ready.clear()
        self._channel.refuse_ended()
        has, self._has = self._has, {}
        return self._channel.message_of(has)
