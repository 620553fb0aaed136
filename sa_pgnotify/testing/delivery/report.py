"""What a :class:`sa_pgnotify.testing.DeliveryCheck` finds: what was written, compared with what each
reader has seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from .readers import Seen
from .writers import Written

__all__ = ["Report"]


@dataclass
class Report:
    """The result of a check. Each finding is a line of text that begins with the reader's name.

    :ivar committed: how many changes were committed.
    :ivar transactions: in how many transactions they were.
    :ivar delivered: how many changes were delivered, by the name of the reader.
    :ivar missing: changes that were committed and not delivered.
    :ivar doubled: changes that were delivered more than once.
    :ivar made_up: changes that were delivered and not committed.
    :ivar out_of_order: changes that were delivered after a later change of the same row.
    :ivar torn: transactions that came in several pieces, or in another order than their own, or
        whose beginning or end was reported at the wrong change.
    :ivar gaps: each :class:`~sa_pgnotify.Gap` that a reader received; a durable entity needs none.
    :ivar misfits: events that did not fit into a copy: a row that was there already, or one that was
        not as it was before the change.
    :ivar differences: rows in which a copy differs from the table in the end.
    :ivar copied: how many changes were committed to the table that is copied.
    :ivar disturbances: how often each disturbance was made.
    """

    committed: int = 0
    transactions: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    made_up: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    copied: int = 0
    disturbances: Counter[str] = field(default_factory=Counter)

    _FINDINGS = (
        "missing",
        "doubled",
        "made_up",
        "out_of_order",
        "torn",
        "gaps",
        "misfits",
        "differences",
    )

    @classmethod
    def of(
        cls,
        written: Sequence[Written],
        readers: Mapping[str, Sequence[Sequence[Seen]]],
        gaps: Iterable[str] = (),
    ) -> Report:
        """Compare what was written with what each reader has seen.

        :param written: the committed changes in their order.
        :param readers: by name, one stream for each part of the reader.
        """
        report = cls(
            len(written), len({change.transaction_id for change in written}), gaps=list(gaps)
        )
        for name, streams in readers.items():
            report._judge(name, written, streams)
        return report

    def _judge(
        self, name: str, written: Sequence[Written], streams: Sequence[Sequence[Seen]]
    ) -> None:
        places = {change: place for place, change in enumerate(written)}
        times = Counter(seen.change for stream in streams for seen in stream)
        self.delivered[name] = times.total()
        self.missing += [f"{name}: {change}" for change in written if change not in times]
        self.doubled += [
            f"{name}: {change} {number} times" for change, number in times.items() if number > 1
        ]
        self.made_up += [f"{name}: {change}" for change in times if change not in places]
        for stream in streams:
            known = [seen for seen in stream if seen.change in places]
            newest: dict[int, int] = {}
            for change, _, _ in known:
                if places[change] < newest.setdefault(change.row, places[change]):
                    self.out_of_order.append(
                        f"{name}: {change} after {written[newest[change.row]]}"
                    )
                newest[change.row] = max(newest[change.row], places[change])
            over: set[int] = set()
            for transaction, run in groupby(known, key=lambda seen: seen.change.transaction_id):
                whole = list(run)
                order = [places[seen.change] for seen in whole]
                edges = [(seen.begins, seen.ends) for seen in whole if seen.begins is not None]
                right = [(i == 0, i == len(whole) - 1) for i in range(len(edges))]
                if transaction in over or order != sorted(order) or edges != right:
                    self.torn.append(f"{name}: transaction {transaction}: {whole}")
                over.add(transaction)

    @property
    def is_right(self) -> bool:
        """Whether nothing was found."""
        return not any(getattr(self, kind) for kind in self._FINDINGS)

    def raise_if_wrong(self) -> None:
        """Raise an error that shows the report, if anything was found.

        :raises AssertionError: if :attr:`is_right` is false.
        """
        if not self.is_right:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        delivered = ", ".join(f"{number} to {name}" for name, number in self.delivered.items())
        made = (
            ", ".join(f"{number} {kind}" for kind, number in sorted(self.disturbances.items()))
            or "none"
        )
        lines = [
            f"committed: {self.committed} changes in {self.transactions} transactions",
            f"delivered: {delivered}",
            f"disturbances: {made}",
        ]
        if self.copied:
            lines.insert(2, f"changes of the table that is copied: {self.copied}")
        for kind in self._FINDINGS:
            found = getattr(self, kind)
            lines += [
                f"{kind.replace('_', ' ')}: {len(found)}",
                *(f"  {line}" for line in found[:3]),
            ]
        return "\n".join(lines)
