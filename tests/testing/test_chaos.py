"""Delivery under chaos, in short: each kind of disturbance once; and that the comparison finds what
is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from turmoil.load import AWAY, Change, Outcome
from turmoil.readers import ReceivedGap, Stream
from turmoil.rounds import Round
from turmoil.verdict import Entry, Judge, Line
from turmoil.world import World

SCHEDULE = (
    "cut",
    "crash, prepared left",
    "restart a listener",
    "terminate a reader",
    "failover",
    "half-open",
    "crash, commits lost",
    "kill -9 a backend",
    "terminate a writer",
)


def passed(*schedule: str) -> None:
    with World(heartbeat=0.3) as world:
        verdict = Round(
            world,
            "short",
            every=0.2,
            schedule=schedule,
            writers=3,
            heartbeat=0.3,
            patience=30.0,
            pause=0.1,
        ).run()
    print(verdict)
    assert verdict.is_right, "\n".join([str(verdict), *verdict.findings])
    assert min(verdict.ephemeral, verdict.durable, verdict.transactions) > 20


def test_nothing_is_lost_without_a_gap():
    """Listeners and consumers are given every change that survives, or a Gap, whatever befalls
    them, their connections and the servers."""
    passed(*SCHEDULE)


@pytest.mark.thorough
def test_what_is_written_while_triggers_are_disabled_by_hand_is_a_gap():
    """A listener reports changes that no trigger saw, and one that restarts or reconnects meanwhile
    does, too."""
    passed("triggers disabled", "cut", "triggers disabled")


# -- the comparison --------------------------------------------------------------------------------

NAMES = ("1.0.0", "1.0.1", "1.0.2")
"""Transactions: committed one second after the other, beginning with 10."""
OUTCOMES = {name: Outcome(10.0 + i, 10.1 + i) for i, name in enumerate(NAMES)} | {
    "1.0.9": Outcome(rolled_back=True)
}
ONE, TWO, THREE = (
    Change("kept_0", operation, 1, f"{name}.0") for operation, name in zip("IUU", NAMES)
)
JOURNAL = [Entry(change, name, False) for change, name in zip((ONE, TWO, THREE), NAMES)]
NEVER = Change("kept_0", "I", 7, "1.0.9.0")


def gap(since: float, arrived: float, reason: str = "reconnected") -> ReceivedGap:
    return ReceivedGap(since, arrived, reason, "")


def judged(
    *events: Any,
    journal: list[Entry] = JOURNAL,
    lossy: bool = False,
    started: float = 0.0,
    complete: bool = True,
) -> Line:
    """What is said of a listener that was given these events."""
    judge = Judge(journal, OUTCOMES, lossy=lossy, label="test")
    judge.listener("it", [Stream(frozenset({"kept_0"}), started, complete, list(events))])
    return judge.verdict.lines["it"]


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        ([ONE, TWO, THREE], {}),
        ([ONE, THREE], {"lost": 1}),
        ([ONE, gap(10.5, 11.5), THREE], {}),
        ([ONE, gap(11.2, 11.5), THREE], {"lost": 1}),  # says that what is missing was not
        ([ONE, gap(9.0, 10.5), THREE], {"lost": 1}),  # came before
        ([ONE, TWO, TWO, THREE], {"doubled": 1}),
        ([ONE, THREE, TWO], {"disordered": 1}),
        ([ONE, TWO, THREE, NEVER], {"made_up": 1}),
    ],
)
def test_what_is_wrong_with_a_listener_is_found(events, wrong):
    """A loss is one unless a Gap covers the moment of the commit, and nothing else passes for
    it."""
    line = judged(*events)
    assert {kind: number for kind in Line.WRONG if (number := getattr(line, kind))} == wrong
    assert line.is_right == (not wrong)


def test_what_a_listener_was_not_there_for_is_not_due():
    """Only what was committed after its start, and well before what it gave last, must be given."""
    assert judged(TWO, THREE, started=10.5) == Line(due=2, delivered=2)
    assert judged(TWO, started=10.5, complete=False) == Line(due=0)
    assert judged(ONE, gap(12.0, 13.5), complete=False) == Line(
        due=3, delivered=1, covered=1, lost=1, gaps=1
    )


def test_what_a_failover_took_away_may_have_been_delivered():
    """A change that was committed and is gone was right when it was delivered; one that was rolled
    back was not."""
    assert judged(ONE, TWO, THREE, journal=JOURNAL[:2], lossy=True).is_right
    assert judged(ONE, TWO, THREE, journal=JOURNAL[:2]).made_up == 1
    assert judged(ONE, TWO, THREE, NEVER, lossy=True).made_up == 1


def test_what_was_made_while_the_triggers_were_off():
    """It is counted by itself, and needs a Gap."""
    silent = [*JOURNAL[:1], JOURNAL[1]._replace(silent=True), *JOURNAL[2:]]
    assert judged(ONE, THREE, journal=silent).off_lost == 1
    assert judged(ONE, gap(10.5, 11.5), THREE, journal=silent) == Line(
        due=2, delivered=2, gaps=1, off_covered=1
    )


@pytest.mark.parametrize(
    ("effects", "wrong"),
    [
        ([ONE, TWO, THREE], []),
        ([ONE, THREE], ["lost"]),
        ([ONE, ONE, TWO, THREE], ["doubled"]),
        ([ONE, TWO, THREE, NEVER], ["made_up"]),
    ],
)
def test_a_consumer_has_each_change_once_also_when_commits_were_lost(effects, wrong):
    """No Gap excuses it, and no crash: what a crash takes away takes the consumer's effects with
    it."""
    judge = Judge(JOURNAL, OUTCOMES, lossy=True, label="test")
    judge.consumer("it", effects)
    assert [kind for kind in Line.WRONG if getattr(judge.verdict.lines["it"], kind)] == wrong


MOVED = TWO._replace(row=ONE.row + AWAY)
LEFT, ENTERED = ONE._replace(operation="D"), MOVED._replace(operation="I")


@pytest.mark.parametrize(
    ("effects", "wrong"),
    [
        ([ONE, MOVED], []),
        ([ONE, LEFT, ENTERED], []),
        ([ONE, ENTERED, LEFT], []),
        ([ONE, ENTERED], ["lost"]),
        ([ONE, LEFT], ["lost", "made_up"]),
        ([ONE, LEFT, MOVED], ["made_up"]),
    ],
)
def test_a_row_that_moves_to_another_part_leaves_the_one_it_was_in(effects, wrong):
    """The part that a row moves to has an insertion of it, and the part that it left a deletion:
    both, or neither where it is one part."""
    journal = [JOURNAL[0], JOURNAL[1]._replace(change=MOVED)]
    judge = Judge(journal, OUTCOMES, lossy=True, label="test")
    judge.consumer("it", effects)
    assert [kind for kind in Line.WRONG if getattr(judge.verdict.lines["it"], kind)] == wrong


def test_a_delete_that_was_made_again_says_nothing_of_the_stream_that_had_the_first():
    """A crash takes a DELETE away after its delivery; that the same row is deleted later, for
    another listener, makes nothing before due."""
    delete = Change("kept_0", "D", 5, "0.0.0.0")
    again = {**OUTCOMES, "1.0.3": Outcome(90.0, 90.1)}
    judge = Judge([*JOURNAL, Entry(delete, "1.0.3", False)], again, lossy=True, label="test")
    judge.listener("it", [Stream(frozenset({"kept_0"}), 0.0, False, [ONE, delete])])
    assert judge.verdict.lines["it"].is_right
