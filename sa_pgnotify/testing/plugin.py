"""The fixture ``capture_changes`` for pytest. To use it, write in ``conftest.py``::

    pytest_plugins = ["sa_pgnotify.testing.plugin"]

    @pytest.fixture
    def sa_pgnotify_bind(session):        # or an engine, a connection; also asyncio's
        return session

The plugin is not an entry point of the package, because pytest would load it, and SQLAlchemy with
it, in every run of every project that has the package installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ..testing import AsyncCapturedChanges, CapturedChanges

__all__ = ["capture_changes", "sa_pgnotify_bind"]


@pytest.fixture
def sa_pgnotify_bind() -> Any:
    """Return what to capture from. A project overrides this fixture."""
    pytest.fail(
        "write a fixture sa_pgnotify_bind that gives an Engine, or the Connection or Session of a test that is rolled back"
    )


@pytest.fixture
def capture_changes(sa_pgnotify_bind: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that captures events until the end of the test.

    ``captured = capture_changes(Order)`` returns a :class:`~sa_pgnotify.testing.CapturedChanges`.
    With asyncio, write ``async with capture_changes(Order) as captured``.
    """
    with ExitStack() as stack:

        def capture(*sources: Any) -> Any:
            if hasattr(sa_pgnotify_bind, "run_sync") or hasattr(sa_pgnotify_bind, "sync_engine"):
                return AsyncCapturedChanges(sa_pgnotify_bind, *sources)
            return stack.enter_context(CapturedChanges(sa_pgnotify_bind, *sources))

        yield capture
