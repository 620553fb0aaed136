"""Where each change is published: a template or a function of the change."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from string import Formatter
from typing import Any, TypeAlias
from urllib.parse import quote

from sqlalchemy import Table, inspect

from ..errors import NotifyConfigError
from ..events.changes import Change

__all__ = ["Subject", "id_of", "root_of", "samples", "subject_function", "token"]

Subject: TypeAlias = str | Callable[[Change], str]
"""A template, or a function that returns the subject of a change."""

FIELDS = ("relay", "schema", "table", "entity", "event", "id")
TRUNCATED = "%"
"""Stands for the identity of a TRUNCATE, which has none. No identity is written like this."""
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


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
        before, mark, after = self._template.replace("{id}", "\0").partition("\0")
        values = self._values(root_of(change.entity, change.table), change.entity, change._kind)
        parts = before.format(**values), after.format(**values) if mark else None
        self._known[kind] = parts
        return parts

    def sample(self, entity: Any, table: Table) -> str:
        """Return the subject of an insert into a class or Table."""
        return self._template.format(
            **self._values(root_of(entity, table), entity, "inserted"), id="1"
        )

    def _values(self, table: Table, entity: Any, event: str) -> dict[str, str]:
        return {
            "relay": self._relay,
            "schema": token(table.schema or "public"),
            "table": token(table.name),
            "entity": token(getattr(entity, "__name__", table.name)),
            "event": event,
        }


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


def root_of(entity: Any, table: Table) -> Table:
    """Return the table that all rows of a class or Table have a part in: with joined inheritance, the
    changes of one row may come from several tables.

    :param table: the one that a change comes from, which is returned if there is no other.
    """
    base: Any = getattr(inspect(entity, raiseerr=False), "base_mapper", None)
    root: Any = None if base is None else base.local_table
    return root if isinstance(root, Table) else table


def samples(subject: Callable[[Change], str], entities: Iterable[tuple[Any, Table]]) -> list[str]:
    """Return subjects that a template may give; none of a function.

    :param entities: classes and Tables, each with its table.
    """
    if not isinstance(subject, _Template):
        return []
    return [subject.sample(entity, table) for entity, table in entities]


def _refused(template: str, why: str) -> NotifyConfigError:
    return NotifyConfigError(
        "Relay",
        f"subject={template!r} is not a template: {why}",
        f"It may have the fields {', '.join(f'{{{field}}}' for field in FIELDS)}",
    )
