"""The envelopes of a message's rows as JSON text, without a dict in between.

What :func:`sa_pgnotify.events.envelope.change_dict` says is put together here. Of a message with many
rows, one format string has all that they share, and is filled with the columns of their values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import repeat
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from .entity_layout import EntityLayout
from .json_columns import SAFE, ColumnTexts, Plan, Unusual, format_of, forms_object, plan_of
from .json_encoder import text_of
from .json_forms import encode

if TYPE_CHECKING:  # they hold what this makes
    from .message import Message
    from .values import Fields

__all__ = ["VERSION", "envelope_texts"]

VERSION = 1
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (in UTC, whose offset is written behind it)
_MOST_PLANS = 200
"""Of an entity. There are as many as there are patterns of nulls in its rows."""
Forms = Sequence[str] | str
"""The JSON of the forms of each row, or of all; empty if there are none."""


def envelope_texts(message: Message, entity: EntityLayout) -> list[str | None]:
    """Return the JSON of the rows of a message, as events of an entity; None for a row whose key
    was changed, which has to be written value by value.

    :raises UndecodableValue: if some value cannot be decoded.
    :raises TypeError: if nothing writes some value.
    """
    kind = message.kind
    sides = {"old" if kind == "deleted" else "new": message.new}
    if kind == "updated":
        sides = {"old": message.old} | sides
    if len(message) == 1 and (text := _one(message, entity, sides)) is not None:
        texts: list[str | None] = [text]
    else:
        texts = _all(message, entity, sides)
    if kind == "updated":
        for row in range(len(texts)):
            if message.key_changed(entity, row):
                texts[row] = None
    return texts


# -- many rows -------------------------------------------------------------------------------------


def _all(message: Message, entity: EntityLayout, sides: dict[str, Fields]) -> list[str | None]:
    size, names, types = len(message), entity.names, entity.types
    keys = [message.new.written(place, types.get(names[place] or "")) for place in entity.key]
    body = f"{_escaped(_head(message, entity))}[{','.join([key.slot for key in keys])}]"
    columns: list[Iterable[Any]] = [key.items for key in keys]
    forms: dict[str, Forms] = {"identity": _identity_forms(keys, size)}
    if message.kind == "updated":
        body += ',"changed":%s,"previous_identity":null'
        columns.append([_names_text(message.changed(entity, row)) for row in range(size)])
    for side, fields in sides.items():
        written = [
            fields.written(place, types[name])
            for place, name in zip(entity.places, entity.attributes)
        ]
        slots = tuple([column.slot for column in written])
        body += f',"{side}":{format_of(entity.attributes, slots)}'
        columns += [column.items for column in written]
        forms[side] = _row_forms(entity, written, size)
    tail, context_forms = _tail(message)
    forms["context"] = context_forms
    parts = [forms.get(part, "") for part in _FORMS]
    if all(type(of) is str for of in parts):
        ending = _escaped(_forms_member(*map(str, parts)))
    else:
        ending = "%s"
        columns.append(map(_forms_member, *[_each(of, size) for of in parts]))
    place = message.places_text()
    if isinstance(place, str):
        body += _escaped(f"{tail}{place}") + f"{ending}}}"
    else:
        body += f"{_escaped(tail)}%s{ending}}}"
        columns.insert(len(columns) - (ending == "%s"), place)
    return list(map(body.__mod__, zip(*columns)))


def _identity_forms(keys: list[ColumnTexts], size: int) -> Forms:
    forms = [key.forms for key in keys]
    if not any(forms):
        return ""
    every: Any = zip(*[_each(of, size) for of in forms])
    return [f"[{','.join([form or 'null' for form in row])}]" if any(row) else "" for row in every]


def _row_forms(entity: EntityLayout, columns: list[ColumnTexts], size: int) -> Forms:
    forms: list[Any] = [column.forms for column in columns]
    if list not in map(type, forms):
        return forms_object(entity.attributes, tuple(forms))
    every: Any = zip(*[_each(of, size) for of in forms])
    return [forms_object(entity.attributes, of) for of in every]


def _each(forms: Any, size: int) -> Iterable[Any]:
    return forms if type(forms) is list else repeat(forms, size)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


# -- one row ---------------------------------------------------------------------------------------


def _one(message: Message, entity: EntityLayout, sides: dict[str, Fields]) -> str | None:
    """Return the JSON of the only row; None if its plan does not write it."""
    forms: dict[str, str] = {}
    try:
        if len(entity.key) == 1 and type(key := message.new.decoded(entity.key[0])[0]) is int:
            if key not in SAFE:
                return None
            text = f"{_head(message, entity)}[{key}]"
        else:
            return None
        if message.kind == "updated":
            text += f',"changed":{_names_text(message.changed(entity, 0))},"previous_identity":null'
        for side, fields in sides.items():
            row = fields[entity][0]._row
            plan = _plan(entity, tuple(map(type, row)))
            if plan is None:
                return None
            text += f',"{side}":{plan.text(row)}'
            forms[side] = plan.forms
    except Unusual:
        return None
    tail, context_forms = _tail(message)
    place = message.places_text()
    if not isinstance(place, str):
        (place,) = place
    member = _forms_member("", forms.get("old", ""), forms.get("new", ""), context_forms)
    return f"{text}{tail}{place}{member}}}"


def _plan(entity: EntityLayout, kinds: tuple[type, ...]) -> Plan | None:
    plans = entity.plans
    try:
        return plans[kinds]
    except KeyError:
        if len(plans) >= _MOST_PLANS:
            plans.clear()
        plan = plans[kinds] = plan_of(entity.attributes, kinds)
        return plan


# -- what the rows share ---------------------------------------------------------------------------


def _head(message: Message, entity: EntityLayout) -> str:
    kind = message.kind
    head = entity.heads.get(kind)
    if head is None:
        table = message.table.fullname
        members = {"version": VERSION, "event": kind, "entity": entity.subject, "table": table}
        head = entity.heads[kind] = f'{text_of(members)[:-1]},"identity":'
    return head


def _tail(message: Message) -> tuple[str, str]:
    """Return what comes after the values, up to the position; and the forms of the context."""
    header, context, forms = message.header, "{}", ""
    if header.context:
        written, form = encode(dict(message.context), None)
        context = text_of(written)
        forms = "" if form is None else text_of(form)
    second, part = divmod(header.microseconds, 1_000_000)
    fraction = f".{part:06}" if part else ""
    return (
        f',"transaction_id":{header.transaction_id},"occurred_at":"{_second_text(second)}{fraction}+00:00"'
        f',"backend_pid":{header.pid},"context":{context},"position":'
    ), forms


@lru_cache(maxsize=16)  # most messages are of the same second as the one before
def _second_text(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).isoformat()


_FORMS = ("identity", "old", "new", "context")


@lru_cache(maxsize=256)
def _forms_member(identity: str, old: str, new: str, context: str) -> str:
    """Return the member ``forms`` of an envelope, with the comma before it; empty if there is none."""
    members = [f'"{part}":{of}' for part, of in zip(_FORMS, (identity, old, new, context)) if of]
    return f',"forms":{{{",".join(members)}}}' if members else ""


@lru_cache(maxsize=128)
def _names_text(names: frozenset[str]) -> str:
    return f"[{','.join(map(encode_basestring, sorted(names)))}]"
