"""``change_context``: who or what made the changes of a transaction, told with each of them.

It is a setting of the transaction (``SET LOCAL``), which the trigger reads, so it needs no column and costs no query of its own to
those who do not use it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session

from .errors import NotifyConfigError
from .events import unscoped

__all__ = ["change_context"]

_GET = text("SELECT current_setting('sa_pgnotify.context', true)")
_SET = text("SELECT set_config('sa_pgnotify.context', :context, true)")


@contextmanager
def change_context(bind: Session | scoped_session[Any] | Connection, context: Mapping[str, Any]) -> Iterator[None]:
    """Give ``context`` to every change that this transaction makes until the end of the block.

    A session is flushed at the end of the block, so that its changes fall within it; a commit within the block ends the context too.
    Blocks may be nested: the inner one's context stands in for the outer one's. Without a transaction (autocommit) PostgreSQL forgets
    the context at once.

    :param bind: whose transaction it is.
    :param context: what ``json.dumps`` takes; it comes back as ``Change.context``.
    :raises NotifyConfigError: if it cannot be written as JSON, or is no mapping.
    """
    try:
        if not isinstance(context, Mapping):
            raise TypeError(f"{type(context).__name__} is no mapping")
        written = json.dumps(dict(context), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise NotifyConfigError("change_context", f"the context cannot be written as JSON: {error}. Use strings, numbers, lists") from error
    bind = unscoped(bind)
    if not isinstance(bind, Session | Connection):
        raise NotifyConfigError("change_context", f"it takes a Session or a Connection, not {type(bind).__name__}")
    if isinstance(bind, Session):
        bind.flush()  # what came before the block is not of it
    before = bind.execute(_GET).scalar()
    bind.execute(_SET, {"context": written})
    try:
        yield
        if isinstance(bind, Session):
            bind.flush()
    except BaseException:
        # Where the error has ended the transaction, it has ended the context too, and this has nothing to take back.
        with suppress(SQLAlchemyError):
            bind.execute(_SET, {"context": before or ""})
        raise
    bind.execute(_SET, {"context": before or ""})
