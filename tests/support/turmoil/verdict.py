"""Whether what was delivered is what was committed: the comparison after a round, and the table of
all rounds.

A listener must have given each change that was committed while it listened, or after it a Gap whose
time covers the commit; a consumer must have had each change exactly once in effect. What a crash or
a failover took away may have been delivered before; what was rolled back never.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import inf
from typing import NamedTuple

from .load import AWAY, Change, Outcome
from .readers import END, ReceivedGap, Stream

SLACK = 0.01
"""Seconds by which the clocks of two threads may seem to differ."""
TAIL = 1.0
"""Seconds by which concurrent commits may be read from the log in another order than they were made
in."""


class Entry(NamedTuple):
    """A line of the journal."""

    change: Change
    transaction: str
    silent: bool


@dataclass
class Line:
    """A line of the table: what became of the changes of one reader.

    :ivar due: changes that it had to be given; ``delivered`` how many were; ``covered`` how many
        were not, and a Gap says so.
    :ivar lost: neither. ``off_covered`` and ``off_lost`` are those made while the triggers were
        disabled by hand.
    """

    due: int = 0
    delivered: int = 0
    covered: int = 0
    gaps: int = 0
    lost: int = 0
    doubled: int = 0
    made_up: int = 0
    disordered: int = 0
    off_covered: int = 0
    off_lost: int = 0
    errors: int = 0

    WRONG = ("lost", "doubled", "made_up", "disordered", "off_lost", "errors")

    @property
    def is_right(self) -> bool:
        return not any(getattr(self, kind) for kind in self.WRONG)


@dataclass
class Verdict:
    """Of one round, or of several when they are added.

    :ivar lines: by reader.
    :ivar findings: a line of text for each thing that is wrong, the first of each kind.
    :ivar ephemeral: changes that were committed and have survived, of such tables; ``durable`` of
        the others.
    """

    lines: dict[str, Line] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    disturbances: Counter[str] = field(default_factory=Counter)
    ephemeral: int = 0
    durable: int = 0
    transactions: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def is_right(self) -> bool:
        return all(line.is_right for line in self.lines.values())

    def add(self, other: Verdict) -> None:
        for name, line in other.lines.items():
            mine = self.lines.setdefault(name, Line())
            for each in fields(Line):
                setattr(mine, each.name, getattr(mine, each.name) + getattr(line, each.name))
        self.findings += other.findings
        self.disturbances += other.disturbances
        self.reasons += other.reasons
        self.ephemeral += other.ephemeral
        self.durable += other.durable
        self.transactions += other.transactions

    def __str__(self) -> str:
        heads = [each.name.replace("_", " ") for each in fields(Line)]
        rows = [["reader", *heads]]
        rows += [
            [name, *(f"{getattr(line, each.name):,}" for each in fields(Line))]
            for name, line in self.lines.items()
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        table = [
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:])),
                ]
            )
            for row in rows
        ]
        made = ", ".join(f"{number} {name}" for name, number in sorted(self.disturbances.items()))
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(self.reasons.items()))
        return "\n".join(
            [
                f"{self.ephemeral:,} ephemeral and {self.durable:,} durable changes in {self.transactions:,} transactions",
                f"disturbances: {self.disturbances.total()} ({made})",
                f"gaps: {reasons or 'none'}",
                *table,
            ]
        )


class Judge:
    """Compares one round's journal with what its readers were given."""

    def __init__(
        self,
        journal: Sequence[Entry],
        outcomes: Mapping[str, Outcome],
        *,
        lossy: bool,
        label: str,
        disturbed: Iterable[tuple[float, str]] = (),
    ) -> None:
        self.verdict = Verdict()
        self._journal = journal
        self._outcomes = outcomes
        self._lossy = lossy
        self._label = label
        self._disturbed = list(disturbed)
        self._places = {entry.change: place for place, entry in enumerate(journal)}
        counted = [entry.change for entry in journal if not entry.change.token.startswith(END)]
        self.verdict.ephemeral = sum(change.relation.startswith("quick") for change in counted)
        self.verdict.durable = len(counted) - self.verdict.ephemeral
        self.verdict.transactions = len({entry.transaction for entry in journal})

    def listener(self, name: str, streams: Sequence[Stream]) -> None:
        line = self.verdict.lines.setdefault(name, Line())
        for stream in streams:
            changes = [event for event in stream.events if isinstance(event, Change)]
            gaps = stream.gaps
            line.gaps += len(gaps)
            self.verdict.reasons.update(gap.reason for gap in gaps)
            times, until = Counter(changes), self._due_until(stream)
            for entry in self._journal:
                if entry.change.relation in stream.relations and self._was_due(
                    entry, stream, until
                ):
                    self._judge_entry(name, line, entry, times[entry.change], gaps)
            self._extras(
                name, line, times, may_repeat=any(gap.reason == "lost_position" for gap in gaps)
            )
            self._order(name, line, changes)
            for error in stream.errors:
                line.errors += 1
                self._find(name, "error", error)

    def _due_until(self, stream: Stream) -> float:
        """Return the time of commits up to which a listener must have given all.

        What stop() finds on its way is not lost: so where it was not the end of the round, what was
        given last is the measure.
        """
        if stream.complete:
            return inf
        known = [
            change
            for change in stream.events
            if isinstance(change, Change) and not self._may_come_again(change)
        ]
        given = [
            self._outcomes[self._journal[place].transaction].earliest
            for place in map(self._places.get, known)
            if place is not None
        ]
        return max([*given, *(gap.arrived for gap in stream.gaps)], default=0.0) - TAIL

    def _was_due(self, entry: Entry, stream: Stream, until: float) -> bool:
        when = self._outcomes[entry.transaction]
        return when.earliest >= stream.started and when.latest <= until

    def _judge_entry(
        self, name: str, line: Line, entry: Entry, delivered: int, gaps: Sequence[ReceivedGap]
    ) -> None:
        if entry.silent and not delivered:
            covered = self._covers(gaps, entry)
            line.off_covered += covered
            line.off_lost += not covered
            if not covered:
                self._find(name, "lost while its trigger was off", entry)
            return
        line.due += 1
        if delivered:
            line.delivered += 1
        elif self._covers(gaps, entry):
            line.covered += 1
        else:
            line.lost += 1
            self._find(name, "LOST", entry)

    def _covers(self, gaps: Sequence[ReceivedGap], entry: Entry) -> bool:
        when = self._outcomes[entry.transaction]
        return any(
            gap.since <= when.latest + SLACK and gap.arrived >= when.earliest - SLACK
            for gap in gaps
        )

    def consumer(self, name: str, effects: Sequence[Change]) -> None:
        line = self.verdict.lines.setdefault(name, Line())
        effects = self._with_moves(name, line, effects)
        times = Counter(effects)
        for change in [change for change in times if change.operation.startswith("G")]:
            line.gaps += times.pop(change)
            self.verdict.reasons[f"consumer's {change.operation[2:60]}"] += 1
        for entry in self._journal:
            if entry.change.relation.startswith("kept") and not entry.silent:
                self._judge_entry(name, line, entry, times[entry.change], [])
        self._extras(name, line, times, strict=True)
        self._order(name, line, effects)

    def _with_moves(self, name: str, line: Line, effects: Sequence[Change]) -> list[Change]:
        """Return the changes as a whole consumer reports them: of a divided one, a key that moves
        to another part is an INSERT into that part, and a DELETE from the part that it left."""
        updated = {entry.change for entry in self._journal if entry.change.operation == "U"}
        as_made = [
            update
            if change.operation == "I" and (update := change._replace(operation="U")) in updated
            else change
            for change in effects
        ]
        left = Counter(
            (change.relation, change.row - AWAY)
            for change, update in zip(effects, as_made, strict=True)
            if change is not update
        )
        whole = []
        for change in as_made:
            row = (change.relation, change.row)
            if change.operation == "D" and change not in self._places and left[row]:
                left[row] -= 1
            else:
                whole.append(change)
        for row in (+left).elements():
            line.lost += 1
            self._find(name, "moved, and not deleted from the part that it left", row)
        return whole

    def _extras(
        self,
        name: str,
        line: Line,
        times: Counter[Change],
        *,
        may_repeat: bool = False,
        strict: bool = False,
    ) -> None:
        """What came twice, and what was not committed.

        :param strict: what was taken away took the reader's effects with it; otherwise its delivery
            was right when it was made.
        """
        allowed = Counter(entry.change for entry in self._journal)
        for change, number in times.items():
            known = allowed[change]
            if (
                number > max(known, 1)
                and not may_repeat
                and (strict or not self._may_come_again(change))
            ):
                line.doubled += 1
                self._find(name, f"{number} times", change)
            if not known and (strict or not self._may_have_been_lost(change)):
                line.made_up += 1
                self._find(name, "never committed", change)

    def _may_come_again(self, change: Change) -> bool:
        """Whether it may have been delivered, been taken away, and been made once more; a DELETE
        bears another transaction's token."""
        outcome = self._outcome_of(change)
        return self._lossy and (
            change.operation == "D" or (outcome is not None and outcome.repeated)
        )

    def _may_have_been_lost(self, change: Change) -> bool:
        outcome = self._outcome_of(change)
        return self._lossy and (
            change.operation == "D" or (outcome is not None and not outcome.rolled_back)
        )

    def _outcome_of(self, change: Change) -> Outcome | None:
        return self._outcomes.get(change.token.rpartition(".")[0])

    def _order(self, name: str, line: Line, changes: Iterable[Change]) -> None:
        """Changes of one row come in the order in which they were made."""
        newest: dict[tuple[str, int], int] = {}
        for change in changes:
            place = self._places.get(change)
            if place is None:
                continue
            row = (change.relation, change.row)
            if place < newest.get(row, -1) and not self._lossy:
                line.disordered += 1
                self._find(name, f"after {self._journal[newest[row]].change}", change)
            newest[row] = max(place, newest.get(row, -1))

    def _find(self, name: str, what: str, where: object) -> None:
        head = f"{self._label}: {name}: {what}: "
        if sum(finding.startswith(head) for finding in self.verdict.findings) < 1:
            when = ""
            if isinstance(where, Entry):
                outcome = self._outcomes[where.transaction]
                near = [
                    f"{at - outcome.earliest:+.2f} s {kind}"
                    for at, kind in self._disturbed
                    if abs(at - outcome.earliest) < 5
                ]
                when = f" committed {outcome.latest - outcome.earliest:.3f} s after COMMIT was sent; disturbances: {', '.join(near) or 'none near'}"
            self.verdict.findings.append(f"{head}{where}{when}")
