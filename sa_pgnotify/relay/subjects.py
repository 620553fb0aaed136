"""Where each change is published: a template or a function of the change."""

from __future__ import annotations

import re
from collections.abc import Callable
from string import Formatter
from typing import Any, TypeAlias
from urllib.parse import quote

from sqlalchemy import Table, inspect

from ..errors import NotifyConfigError
from ..events.changes import Change

__all__ = ["Subject", "id_of", "root_of", "subject_function"]

Subject: TypeAlias = str | Callable[[Change], str]
"""A template, or a function that returns the subject of a change."""

FIELDS = ("relay", "schema", "table", "entity", "event", "id")
TRUNCATED = "%"
"""Stands for the identity of a TRUNCATE, which has none. No identity is written like this."""


def subject_function(relay: str, subject: Subject) -> Callable[[Change], str]:
    """Return the function that gives the subject of a change.

    :raises NotifyConfigError: if the template has other fields than those of the documentation.
    """
    if callable(subject):
        return subject
    if not isinstance(subject, str) or not subject:
        raise NotifyConfigError(
            "Relay",
            f"subject={subject!r} is neither a template nor a function",
            'Give a text such as "shop.{table}.{id}", or a function of a change',
        )
    return _Template(relay, subject)


class _Template:
    """Fills in a template. All but the identity is the same for the changes of one kind and class."""

    def __init__(self, relay: str, template: str) -> None:
        self._relay, self._template = relay, template
        self._known: dict[tuple[object, ...], tuple[str, str | None]] = {}
        try:
            fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
        except ValueError as error:
            raise _refused(template, str(error)) from None
        for field in fields:
            if field not in FIELDS:
                raise _refused(template, f"it has no field {{{field}}}")
        if fields.count("id") > 1:
            raise _refused(template, "{id} stands in it more than once")

    def __call__(self, change: Change) -> str:
        kind = (change.entity, change.table, change._kind)
        before, after = self._known.get(kind) or self._parts(change, kind)
        return f"{before}{id_of(change)}{after}" if after is not None else before

    def _parts(self, change: Change, kind: tuple[object, ...]) -> tuple[str, str | None]:
        table = root_of(change)
        name = getattr(change.entity, "__name__", table.name)
        before, mark, after = self._template.replace("{id}", "\0").partition("\0")
        values = {
            "relay": self._relay,
            "schema": token(table.schema or "public"),
            "table": token(table.name),
            "entity": token(name),
            "event": change._kind,
        }
        parts = before.format(**values), after.format(**values) if mark else None
        self._known[kind] = parts
        return parts


_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


def token(text: str) -> str:
    """Return a text as one token of a subject, in any broker that takes ``%``."""
    if _PLAIN.fullmatch(text):
        return text
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E")


def id_of(change: Change) -> str:
    """Return the identity of a change as one token, in PostgreSQL's own texts."""
    if change.identity is None:
        return TRUNCATED
    texts = change._identity_texts()
    return token(texts[0]) if len(texts) == 1 else ",".join(map(token, texts))


def root_of(change: Change) -> Table:
    """Return the table that all rows of the entity have a part in: with joined inheritance, the
    changes of one row may come from several tables."""
    mapper: Any = inspect(change.entity, raiseerr=False)
    base: Any = getattr(mapper, "base_mapper", None)
    return change.table if base is None else base.local_table


def _refused(template: str, why: str) -> NotifyConfigError:
    return NotifyConfigError(
        "Relay",
        f"subject={template!r} is not a template: {why}",
        f"It may have the fields {', '.join(f'{{{field}}}' for field in FIELDS)}",
    )
