"""The envelopes of a message's rows as JSON text, without a dict in between.

What :func:`sa_pgnotify.events.envelope.change_dict` says is put together here from pieces: most of
them are the same for all events of an entity, or for all rows of a message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import repeat
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table

from ..protocol.wire import Header
from .entity_layout import EntityLayout
from .json_columns import Unusual, format_of, forms_object, plan_of
from .json_encoder import moments_text, text_of
from .json_forms import encode

if TYPE_CHECKING:  # they hold what this makes
    from .changes import Change
    from .values import Fields, Values

__all__ = ["MessageTexts", "change_text"]

VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Forms = Sequence[str] | str
"""The JSON of the forms of each row, or of all; empty if there are none."""
_MOST_PLANS = 200
"""Of an entity. There are as many as there are patterns of nulls in its rows."""


class MessageTexts:
    """The JSON of the rows of a message, as events of one entity.

    :ivar identities: the identity of each row; ``new`` and ``old`` the values.
    :ivar tail: what comes after the values, the same for all rows.
    """

    __slots__ = ("context_forms", "identities", "identity_forms", "new", "new_forms", "old", "old_forms", "tail")  # fmt: skip

    def __init__(
        self,
        entity: EntityLayout,
        kind: str,
        header: Header,
        context: Mapping[str, Any],
        new: Fields,
        old: Fields,
    ) -> None:
        """
        :param kind: of the events.
        :param old: the fields before an update.
        :raises UndecodableValue: if some value cannot be decoded.
        :raises TypeError: if nothing writes some value.
        """
        self.identities, self.identity_forms = _identities(entity, new)
        self.new, self.new_forms = _rows(entity, new)
        self.old: list[str] = []
        self.old_forms: Forms = ""
        if kind == "updated":
            self.old, self.old_forms = _rows(entity, old)
        elif kind == "deleted":
            self.old_forms, self.new_forms = self.new_forms, ""
        context_text, self.context_forms = "{}", ""
        if context:
            written, form = encode(dict(context), None)
            context_text = text_of(written)
            self.context_forms = "" if form is None else text_of(form)
        (occurred_at,) = moments_text((_EPOCH + timedelta(microseconds=header.microseconds),))
        self.tail = (
            f',"transaction_id":{header.transaction_id},"occurred_at":{occurred_at}'
            f',"backend_pid":{header.pid},"context":{context_text},"position":'
        )

    def forms(self, row: int) -> str:
        """Return the member ``forms`` of a row's envelope, with the comma before it."""
        identity, old, new = self.identity_forms, self.old_forms, self.new_forms
        return _forms_member(
            identity if type(identity) is str else identity[row],
            old if type(old) is str else old[row],
            new if type(new) is str else new[row],
            self.context_forms,
        )


@lru_cache(maxsize=256)
def _forms_member(identity: str, old: str, new: str, context: str) -> str:
    parts = {"identity": identity, "old": old, "new": new, "context": context}
    members = [f'"{part}":{forms}' for part, forms in parts.items() if forms]
    return f',"forms":{{{",".join(members)}}}' if members else ""


def _rows(entity: EntityLayout, fields: Fields) -> tuple[list[str], Forms]:
    """Return the JSON of the values of each row, and of their forms."""
    names = entity.attributes
    rows = fields[entity]
    if len(rows) == 1 and (text := _single(entity, rows[0])) is not None:
        return text
    columns = [
        fields.written(place, entity.types[name]) for place, name in zip(entity.places, names)
    ]
    template = format_of(names, tuple([column.slot for column in columns]))
    texts = list(map(template.__mod__, zip(*[column.items for column in columns])))
    forms = [column.forms for column in columns]
    if list in map(type, forms):
        every: Any = zip(*[of if type(of) is list else repeat(of, len(texts)) for of in forms])
        return texts, [forms_object(names, of) for of in every]
    return texts, forms_object(names, tuple(forms))


def _single(entity: EntityLayout, values: Values) -> tuple[list[str], str] | None:
    """Return the only row as its plan writes it; None if it has to be written value by value."""
    row, plans = values._row, entity.plans
    kinds = tuple(map(type, row))
    try:
        plan = plans[kinds]
    except KeyError:
        if len(plans) >= _MOST_PLANS:
            plans.clear()
        plan = plans[kinds] = plan_of(entity.attributes, kinds)
    try:
        return None if plan is None else ([plan.text(row)], plan.forms)
    except Unusual:
        return None


def _identities(entity: EntityLayout, fields: Fields) -> tuple[list[str], Forms]:
    """Return the JSON of the identity of each row, and of the forms of its values."""
    names, types = entity.names, entity.types
    columns = [fields.written(place, types.get(names[place] or "")) for place in entity.key]
    template = f"[{','.join([column.slot for column in columns])}]"
    identities = list(map(template.__mod__, zip(*[column.items for column in columns])))
    forms = [column.forms for column in columns]
    if not any(forms):
        return identities, ""
    every: Any = zip(*[of if type(of) is list else repeat(of, len(identities)) for of in forms])
    return identities, [
        f"[{','.join(form or 'null' for form in row)}]" if any(row) else "" for row in every
    ]


def change_text(change: Change[Any]) -> str | None:
    """Return the envelope of a change as JSON; None if it has to be made value by value."""
    message, entity, row, kind = change._message, change._entity_layout, change._row, change._kind
    texts = None if kind == "truncated" else message.texts(entity)
    if texts is None:
        return None
    head = entity.heads.get(kind) or _remember_head(entity, kind, message.table)
    if kind == "updated":
        if message.key_changed(entity, row):
            return None
        changed = _names_text(message.changed(entity, row))
        values = f',"changed":{changed},"previous_identity":null,"old":{texts.old[row]},"new":{texts.new[row]}'
    elif kind == "deleted":
        values = f',"old":{texts.new[row]}'
    else:
        values = f',"new":{texts.new[row]}'
    place = message.place_text(row)
    return f"{head}{texts.identities[row]}{values}{texts.tail}{place}{texts.forms(row)}}}"


def _remember_head(entity: EntityLayout, kind: str, table: Table) -> str:
    members = {"version": VERSION, "event": kind, "entity": entity.subject, "table": table.fullname}
    head = entity.heads[kind] = f'{text_of(members)[:-1]},"identity":'
    return head


@lru_cache(maxsize=128)
def _names_text(names: frozenset[str]) -> str:
    return f"[{','.join(map(encode_basestring, sorted(names)))}]"
