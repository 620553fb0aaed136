"""The protocol by which writers see whether anybody listens, in every order of the steps of writers and
listeners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest


class Writer(NamedTuple):
    """A transaction with one change, that comes through a door.

    :ivar step: ``new``, ``first`` (holds *present* alone, for a moment), ``alone`` (nobody is
        there), ``untold`` (shares that lock), ``second`` (holds *present* alone again), ``silent``,
        ``tells`` or ``ended``.
    :ivar untold: whether it shares *untold*.
    """

    door: int
    step: str = "new"
    untold: bool = False


class Reader(NamedTuple):
    """A listener.

    :ivar step: ``away``, ``listening``, ``shown`` (holds *present* of both doors), ``started``
        (others are said to be heard from now on).
    :ivar shows: the doors of which it holds *present*; ``follows`` the writers whose end is a Gap.
    """

    step: str = "away"
    shows: frozenset[int] = frozenset()
    follows: frozenset[int] = frozenset()


class State(NamedTuple):
    writers: tuple[Writer, ...]
    readers: tuple[Reader, ...]
    missed: bool = False

    def alone_in(self, door: int) -> bool:
        """Whether *present* of a door can be had alone."""
        return not any(door in r.shows for r in self.readers) and not any(
            w.step in ("first", "second") and w.door == door for w in self.writers
        )


class Model:
    """The protocol, as the trigger functions and :class:`sa_pgnotify.protocol.presence.Presence`
    follow it."""

    looks_twice = shares_untold = looks_after_showing = looks = True

    def write(self, state: State, w: Writer) -> Iterator[Writer]:
        if w.step == "new":
            yield w._replace(step="first" if state.alone_in(w.door) else "tells")
        elif w.step == "first":
            yield w._replace(step="alone")
        elif w.step == "alone":
            yield w._replace(
                step="untold" if self.looks_twice else "silent", untold=self.shares_untold
            )
        elif w.step == "untold":
            yield w._replace(step="second" if state.alone_in(w.door) else "tells")
        elif w.step == "second":
            yield w._replace(step="silent")
        elif w.step in ("silent", "tells"):
            yield w._replace(step="ended", untold=False)

    def read(self, state: State, r: Reader) -> Iterator[Reader]:
        doors = frozenset(w.door for w in state.writers)
        open_now = (
            frozenset(i for i, w in enumerate(state.writers) if w.untold)
            if self.looks
            else frozenset[int]()
        )
        yield Reader()  # it stops, or its connection breaks
        if r.step == "away":
            yield r._replace(
                step="listening", follows=frozenset() if self.looks_after_showing else open_now
            )
        elif r.step == "listening":
            for door in doors - r.shows:
                if not any(w.step in ("first", "second") and w.door == door for w in state.writers):
                    yield r._replace(
                        shows=r.shows | {door},
                        step="shown" if r.shows | {door} == doors else r.step,
                    )
        elif r.step == "shown":
            yield r._replace(
                step="started", follows=open_now if self.looks_after_showing else r.follows
            )

    def next_to(self, state: State) -> Iterator[State]:
        for i, w in enumerate(state.writers):
            for after in self.write(state, w):
                silent = w.step == "silent" and after.step == "ended"
                missed = silent and any(
                    r.step == "started" and i not in r.follows for r in state.readers
                )
                yield State(
                    (*state.writers[:i], after, *state.writers[i + 1 :]), state.readers, missed
                )
        for i, r in enumerate(state.readers):
            for one in self.read(state, r):
                yield State(state.writers, (*state.readers[:i], one, *state.readers[i + 1 :]))

    def states(self, doors: tuple[int, int]) -> Iterator[State]:
        known = [State((Writer(doors[0]), Writer(doors[1])), (Reader(), Reader()))]
        seen = set(known)
        for state in known:
            yield state
            for following in self.next_to(state):
                if following not in seen:
                    seen.add(following)
                    known.append(following)


class LooksOnce(Model):
    looks_twice = False


class SharesNothing(Model):
    shares_untold = False


class LooksTooEarly(Model):
    looks_after_showing = False


class NeverLooks(Model):
    looks = False


@pytest.mark.parametrize("doors", [(0, 0), (0, 1)])
def test_nobody_is_sure_while_somebody_may_commit_in_silence(doors):
    """In no order of the steps of two writers and two listeners, which come, go and break, is a
    change committed without a notification while a listener relies on getting all."""
    assert not any(state.missed for state in Model().states(doors))


@pytest.mark.parametrize("model", [LooksOnce, SharesNothing, LooksTooEarly, NeverLooks])
def test_the_model_finds_what_is_wrong(model):
    """Each part of the protocol is needed: without it there is an order in which a change is lost
    without a word."""
    assert any(state.missed for state in model().states((0, 0)))
