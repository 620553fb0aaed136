"""The options that blocking and asyncio live queries share, and the checks of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Select

from ..errors import NotifyConfigError
from ..log.snapshots import Position
from .outlet import Outlet
from .query import Query
from .refusals import check_tables
from .row_security import RowSecurity
from .statement import LiveStatement

__all__ = ["new_query"]


def new_query(
    subject: str,
    statement: Select[Any],
    ready: Callable[[], object],
    *,
    live: LiveStatement | None = None,
    old: bool,
    rows: bool,
    refresh: float | None,
    position: Position | None = None,
    seen_by: tuple[RowSecurity, str] | None = None,
) -> Query:
    """Check the options, and return the query that a feed follows.

    :param subject: the name of the class that the program uses, for error messages.
    :param statement: a SELECT.
    :param ready: called when there is a step to take.
    :param live: the analysis of a statement of the same shape, if there is one.
    :raises NotifyConfigError: if the statement cannot be followed, or an option is not valid.
    """
    if refresh is not None and not refresh > 0:
        raise NotifyConfigError(subject, f"refresh={refresh!r} is not a number of seconds above 0")
    if position is not None and not isinstance(position, Position):
        raise NotifyConfigError(
            subject,
            f"position={position!r} is not a Position",
            "Pass step.position, or Position.parse(text) of a text that str(position) returned",
        )
    live = live or LiveStatement(statement, subject)
    if refresh is None:
        check_tables(live, subject)
    return Query(
        subject,
        statement,
        live,
        Outlet(ready),
        old=old,
        rows=rows,
        refresh=refresh,
        resumes_at=position,
        seen_by=seen_by,
    )
