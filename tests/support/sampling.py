"""Which of the tests run by default, and which with ``--thorough`` only, as ``make matrix`` runs
them.

Many tests run for each kind of listener, and for dozens of parameters, though it is one path
through the code that they protect. The default run must end in minutes, so it takes a part of
these: always the same part, but another one for each test, so that over the whole suite every kind,
and every pair of kind and feature that a hash can reach, is seen. A test that is named
(``file.py::test``) runs whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings
from kinds import NAMES

MARKERS = (
    "kinds(count): of the kinds of listener, take one (1), one that blocks and one of asyncio (2, the default), or one of each driver (3)",
    "sample(n): take about every n-th set of parameters",
    "thorough: take it with --thorough only",
)
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
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    settings.load_profile("thorough" if config.getoption("thorough") else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("thorough") or any("::" in argument for argument in config.args):
        return
    taken = set(_of_each_kind(item for item in items if _is_sampled(item)))
    config.hook.pytest_deselected(items=[item for item in items if item not in taken])
    items[:] = [item for item in items if item in taken]


def _is_sampled(item: pytest.Item) -> bool:
    sample = item.get_closest_marker("sample")
    return item.get_closest_marker("thorough") is None and (
        sample is None or _turn(item.nodeid, sample.args[0]) == 0
    )


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
        for family in FAMILIES[marker.args[0] if marker else 2]:
            there = [kind for kind in family if kind in by_kind]
            if there:
                yield by_kind[there[_turn(test, len(there))]]


def _turn(name: str, count: int) -> int:
    """A number below ``count`` that is always the same for a name."""
    return crc32(name.encode()) % count
