"""Checking that a listener or consumer was given the kind of engine that it takes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from ..errors import NotifyConfigError

__all__ = ["asyncio_engine", "blocking_engine"]


def blocking_engine(given: Any, subject: str, asyncio_subject: str) -> Engine:
    """Return ``given`` if it is a blocking engine.

    :param subject: the name of the class that takes it; ``asyncio_subject`` of its asyncio twin.
    :raises NotifyConfigError: if it is an asyncio engine, or not an engine.
    """
    if hasattr(given, "sync_engine") or (isinstance(given, Engine) and given.dialect.is_async):
        raise NotifyConfigError(
            subject,
            "this is an asyncio engine",
            f"Use {asyncio_subject}, and give it the AsyncEngine",
        )
    if not isinstance(given, Engine):
        raise NotifyConfigError(
            subject, f"it takes an Engine, as create_engine() makes, not {type(given).__name__}"
        )
    return given


def asyncio_engine(given: Any, subject: str, blocking_subject: str) -> Engine:
    """Return the ``sync_engine`` of ``given`` if that is an AsyncEngine.

    :param subject: the name of the class that takes it; ``blocking_subject`` of its blocking twin.
    :raises NotifyConfigError: if it is not an AsyncEngine.
    """
    if isinstance(given, Engine):
        kind, fix = "a blocking one", f"Use {blocking_subject}, or make it by create_async_engine()"
        if given.dialect.is_async:
            kind, fix = "the engine inside of one", "Give it the AsyncEngine itself"
        raise NotifyConfigError(subject, f"it takes an AsyncEngine, and this engine is {kind}", fix)
    engine = getattr(given, "sync_engine", None)
    if not isinstance(engine, Engine):
        raise NotifyConfigError(
            subject,
            f"it takes an AsyncEngine, as create_async_engine() makes, not {type(given).__name__}",
        )
    return engine
