"""Which of the tests run by default, and which with ``--thorough`` only, as ``make matrix`` runs
them.

Many tests run for each kind of listener, and for dozens of parameters, though it is one path
through the code that they protect. The default run must end in minutes, so it takes a part of
these: always the same part, but another one for each test, so that over the whole suite every kind,
and every pair of kind and feature that a hash can reach, is seen; and within a test each value of
each parameter, if the part is large enough. A test that is named (``file.py::test``) runs whole.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings
from kinds import NAMES

T = TypeVar("T")
Number = TypeVar("Number", int, float)
MARKERS = (
    "kinds(count): of the kinds of listener, take one (1, the default), one that blocks and one of asyncio (2), or one of each driver (3)",
    "sample(n): take one n-th of the sets of parameters; without it half of several, and a third of nine or more",
    "thorough: take it with --thorough only",
)
MANY, VERY_MANY = 2, 9
"""The numbers of cases from which on half of them, and a third, are enough in the default run."""
_whole = False
"""Whether tests run with all their parameters and at their full size."""
FAMILIES = {
    1: [NAMES],
    2: [["psycopg2", "psycopg"], ["psycopg-asyncio", "asyncpg", "asyncpg-uvloop"]],
    3: [["psycopg2"], ["psycopg", "psycopg-asyncio"], ["asyncpg", "asyncpg-uvloop"]],
}
"""Of each family, a test takes one kind."""

for name, examples in {"default": 25, "thorough": 200}.items():
    settings.register_profile(
        name,
        deadline=None,
        max_examples=examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def add_option(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough",
        action="store_true",
        help="run every test for every kind of listener and with all parameters",
    )


def configure(config: pytest.Config) -> None:
    global _whole
    _whole = config.getoption("thorough") or _names_a_test(config)
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    settings.load_profile("thorough" if config.getoption("thorough") else "default")


def _names_a_test(config: pytest.Config) -> bool:
    return any("::" in argument for argument in config.args)


def size(whole: Number, otherwise: Number) -> Number:
    """Return how many rows, steps or examples a test takes: fewer ``otherwise``, in the default
    run."""
    return whole if _whole else otherwise


def part(cases: Iterable[T], n: int, turn: int = 0) -> list[T]:
    """Return the cases that a test goes through by itself; in the default run only every n-th,
    beginning with number ``turn``."""
    return list(cases) if _whole else list(cases)[turn % n :: n]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _whole:
        return
    short = (item for item in items if item.get_closest_marker("thorough") is None)
    taken = set(_sampled(_of_each_kind(short)))
    config.hook.pytest_deselected(items=[item for item in items if item not in taken])
    items[:] = [item for item in items if item in taken]


def _sampled(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """Of a test that is marked ``sample(n)`` yield one n-th of its cases, and at least one; of one
    that is not marked, half of them if there are :data:`MANY`, and a third if :data:`VERY_MANY`."""
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        cases[item.nodeid.partition("[")[0]].append(item)
    for alike in cases.values():
        sample = alike[0].get_closest_marker("sample")
        n = sample.args[0] if sample else 1 + (len(alike) >= MANY) + (len(alike) >= VERY_MANY)
        yield from alike if n == 1 else _spread(alike, -(-len(alike) // n))


def _spread(cases: list[pytest.Item], count: int) -> Iterator[pytest.Item]:
    """Yield ``count`` cases, each time one whose parameters have been taken least."""
    left = sorted(cases, key=lambda item: crc32(item.nodeid.encode()))
    taken: Counter[tuple[str, int]] = Counter()
    for _ in range(count):
        case = min(left, key=lambda item: sum(taken[value] for value in _values(item)))
        left.remove(case)
        taken.update(_values(case))
        yield case


def _values(item: pytest.Item) -> list[tuple[str, int]]:
    """Return each parameter with the identity of its value."""
    assert isinstance(item, pytest.Function)
    return [(name, id(value)) for name, value in item.callspec.params.items()]


def _of_each_kind(items: Iterator[pytest.Item]) -> Iterator[pytest.Item]:
    alike: dict[str, dict[str, pytest.Item]] = defaultdict(dict)
    for item in items:
        kind = (
            item.callspec.params.get("kind")
            if isinstance(item, pytest.Function) and hasattr(item, "callspec")
            else None
        )
        if kind in NAMES:
            alike[item.nodeid.replace(kind, "", 1)][kind] = item
        else:
            yield item
    for test, by_kind in alike.items():
        marker = next(iter(by_kind.values())).get_closest_marker("kinds")
        for family in FAMILIES[marker.args[0] if marker else 1]:
            there = [kind for kind in family if kind in by_kind]
            if there:
                yield by_kind[there[_turn(test, len(there))]]


def _turn(name: str, count: int) -> int:
    """A number below ``count`` that is always the same for a name."""
    return crc32(name.encode()) % count
