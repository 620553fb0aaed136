"""Serving all browsers that see the same rows from one live query."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Any
from weakref import ref

from sqlalchemy import Row

from ..live.async_feed import AsyncFeed
from ..live.query import Query
from ..live.steps import Leave, Step
from .browser import Browser
from .message import Message
from .row_json import key_text, row_text

__all__ = ["Channel", "Ended"]

REMEMBERED = 200
"""The number of steps that a channel remembers, for browsers that reconnect."""
FEW = 1_000
"""The number of keys of changed rows that are remembered even if the result has fewer rows. A
larger result allows as many keys as it has rows; beyond that it is cheaper to send all rows."""

logger = logging.getLogger("sa_pgnotify")
Changed = dict[Hashable, bool]


class Ended(Exception):
    """A channel has ended.

    :ivar message: the last message to send; None if there is none.
    """

    def __init__(self, message: Message | None) -> None:
        super().__init__()
        self.message = message


class Channel:
    """The current rows of one live query as JSON, and the browsers that are sent them.

    :param make_query: makes the query, given the function to call when it has a step.
    :param encode: converts a row to what JSON can express.
    :ivar is_over: whether it has ended, because the query has failed or the channel was stopped.
    """

    def __init__(
        self,
        feed: AsyncFeed,
        make_query: Callable[[Callable[[], None]], Query],
        encode: Callable[[Row[Any]], Any],
    ) -> None:
        self._feed = feed
        self._stepped = asyncio.Event()
        self.query = make_query(self._stepped.set)
        self._encode = encode
        self._rows: dict[Hashable, str] = {}
        self._order: list[Hashable] | None = None
        self._browsers: set[Browser] = set()
        # an id must not be valid in another process, or after a restart
        self._name = secrets.token_hex(6)
        self._number = 0
        self._steps: deque[tuple[int, Changed]] = deque()
        self._remembered = 0  # the number of keys in _steps
        self._sent: ref[Message] | None = None
        self._failed: Message | None = None
        self.is_over = False
        self._task = asyncio.create_task(self._run(), name="sa_pgnotify page")

    # -- browsers ----------------------------------------------------------------------------------

    def join(self, last_id: str | None) -> Browser:
        """Add a browser, and return the object from which its stream takes messages.

        :param last_id: the ``id`` of the last message that the browser has; None if it has none.
        """
        browser = Browser(self, self._since(last_id))
        self._browsers.add(browser)
        if self._number and last_id != self._token:  # otherwise the next step wakes it
            browser.wake()
        return browser

    def leave(self, browser: Browser) -> bool:
        """Remove a browser, and return whether no browser is left."""
        self._browsers.discard(browser)
        return not self._browsers

    def _since(self, last_id: str | None) -> Changed | None:
        """Return the changes since a message; None if they are not known."""
        name, _, number = (last_id or "").rpartition(".")
        # the number is compared as text, because a browser may send anything
        known = {str(at): at for at in range(self._number - len(self._steps), self._number + 1)}
        if name != self._name or number not in known:
            return None
        seen = known[number]
        changed: Changed = {}
        for at, each in self._steps:
            if at > seen:
                for key, was_there in each.items():
                    changed.setdefault(key, was_there)
        return changed

    @property
    def _token(self) -> str:
        return f"{self._name}.{self._number}"

    @property
    def most_keys(self) -> int:
        """The most keys of changed rows to remember, for one browser and for all steps together."""
        return max(FEW, len(self._rows))

    def refuse_ended(self) -> None:
        """Check that the channel has not ended.

        :raises Ended: if it has.
        """
        if self.is_over:
            raise Ended(self._failed)

    def message_of(self, has: Mapping[Hashable, bool] | None) -> Message | None:
        """Return the message that brings a browser up to date; None if it is up to date.

        :param has: the keys of the rows that have changed since its last message, each with whether
            the browser has the row; None to send all rows.
        """
        if has is None:
            return self._all_rows()
        put = ",".join(
            f"[{json.dumps(key_text(key))},{self._rows[key]}]" for key in has if key in self._rows
        )
        gone = [key_text(key) for key, had in has.items() if had and key not in self._rows]
        if not put and not gone and self._order is None:
            return None
        order = ""
        if self._order is not None:
            order = f',"order":{json.dumps([key_text(key) for key in self._order])}'
        return Message("step", f'{{"put":[{put}],"gone":{json.dumps(gone)}{order}}}', self._token)

    def _all_rows(self) -> Message:
        """Return the message with all rows, which all browsers that are being sent it share."""
        message = None if self._sent is None else self._sent()
        if message is None or message.id != self._token:
            keys = self._rows if self._order is None else self._order
            rows = ",".join(f"[{json.dumps(key_text(key))},{self._rows[key]}]" for key in keys)
            message = Message("rows", f"[{rows}]", self._token)
            self._sent = ref(message)
        return message

    # -- the query ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._feed.add(self.query)
            while not self.is_over:
                await self._stepped.wait()
                self._stepped.clear()
                if (step := self.query.outlet.take()) is not None:
                    self._take(step)
        except Exception as error:
            logger.exception("a live page has failed", exc_info=error)
            self._failed = Message("failed", "{}")
        finally:
            self.is_over = True
            for browser in self._browsers:
                browser.wake()
            self.query.outlet.drop()  # if remove() is cancelled, the feed removes the query later
            await self._feed.remove(self.query)

    def _take(self, step: Step) -> None:
        changed: Changed = {}
        if step.is_whole:
            self._rows = {}
        for event in step:
            changed[event.key] = event.key in self._rows
            if isinstance(event, Leave):
                self._rows.pop(event.key, None)
            else:
                self._rows[event.key] = row_text(event.row, self._encode)
        if self.query.rows:
            self._order = list(step.keys)
        self._number += 1
        if step.is_whole:
            self._steps.clear()
            self._remembered = 0
        else:
            self._steps.append((self._number, changed))
            self._remembered += len(changed)
            while len(self._steps) > REMEMBERED or self._remembered > self.most_keys:
                self._remembered -= len(self._steps.popleft()[1])
        for browser in self._browsers:
            browser.note(None if step.is_whole else changed)

    async def stop(self) -> None:
        """End the query, and the streams of all browsers.

        If this is cancelled, an evaluation that is still running is cancelled too.
        """
        self.is_over = True
        self._stepped.set()
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            self._task.cancel()
            raise
