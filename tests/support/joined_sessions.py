"""A session whose commits are savepoints of a transaction that a test rolls back."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session


def joined(connection: Any) -> Session:
    return Session(connection, join_transaction_mode="create_savepoint")
