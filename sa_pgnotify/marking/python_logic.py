"""Refuse Python's ``and``, ``or``, ``not`` and ``in`` in a function that builds an SQL condition.

They ask each operand for its truth value. Most SQL expressions raise an error then, but ``==`` and
``!=`` return one, because SQLAlchemy compares columns by them in its own sets and lists; so ``new.a
== 1 and new.b == 2`` would quietly become ``new.a == 1``. While such a function runs, its thread
gets an error instead, unless SQLAlchemy itself asks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

from sqlalchemy import BinaryExpression

__all__ = ["refusing"]

_refusal: ContextVar[Callable[[], Exception] | None] = ContextVar("refusal", default=None)
_lock = Lock()
_running = 0
_answer: Any = BinaryExpression.__bool__


@contextmanager
def refusing(error: Callable[[], Exception]) -> Iterator[None]:
    """Raise the error that ``error`` returns wherever the block asks an SQL comparison for its
    truth value."""
    global _running  # noqa: PLW0603 (the class is one for all threads)
    with _lock:
        _running += 1
        BinaryExpression.__bool__ = _refuse  # type: ignore[method-assign]
    token = _refusal.set(error)
    try:
        yield
    finally:
        _refusal.reset(token)
        with _lock:
            _running -= 1
            if not _running:
                BinaryExpression.__bool__ = _answer  # type: ignore[method-assign]


def _refuse(comparison: BinaryExpression[Any]) -> bool:
    error = _refusal.get()
    asked_by = sys._getframe(1).f_globals.get("__name__", "")
    if error is not None and asked_by.partition(".")[0] != "sqlalchemy":
        raise error()
    return bool(_answer(comparison))
