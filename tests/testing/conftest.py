"""Fixtures of this folder."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def outer(engine: Any) -> Any:
    """The usual recipe: a connection in a transaction that is rolled back, whatever the test's
    sessions commit."""
    with engine.connect() as connection:
        transaction = connection.begin()
        yield connection
        if transaction.is_active:
            transaction.rollback()
