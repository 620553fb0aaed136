"""Events as CloudEvents 1.0, in the structured JSON format.

Brokers and functions of many vendors take CloudEvents. What matters most is ``id``: with ``source`` it
identifies the event, so that a receiver can recognise one that comes again.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any
from uuid import uuid4

from ..errors import NotifyConfigError
from .changes import Change
from .json_encoder import text_of
from .kinds import Event, Gap, Notification
from .schema import event_schema

__all__ = ["CloudEvents"]

_URI_REFERENCE = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class CloudEvents:
    """Wraps events as CloudEvents 1.0::

        wrap = CloudEvents(source="/shop/orders")
        publish(wrap.to_json(event))

    A receiver reads the change back with ``Change.from_dict(cloud_event["data"], metadata)``.

    - ``id``: of a durable change its ``key``, the same whenever it is read; of an ephemeral one its
      transaction and its ordinal among the changes of it that the listener received, the same for
      listeners of the same sources; of an existing row what was read and when; of a gap or a
      notification a random one.
    - ``type``: the kind of the event, as ``"sa_pgnotify.updated"``.
    - ``subject``: the table and the identity, as ``"orders/7"``; the channel of a notification.
    - ``time``: ``occurred_at``.
    - ``dataschema``: the ``$id`` of :func:`~sa_pgnotify.event_schema`.

    :param source: a URI reference that names the database: ``"/shop"``.
    :param prefix: what the types begin with.
    :raises NotifyConfigError: if ``source`` or ``prefix`` cannot be one.
    """

    def __init__(self, source: str, *, prefix: str = "sa_pgnotify") -> None:
        if not isinstance(source, str) or not _URI_REFERENCE.fullmatch(source):
            raise NotifyConfigError(
                "CloudEvents",
                f"source={source!r} is not a URI reference",
                'Give one that names the database, such as "/shop" or "https://example.com/shop"',
            )
        if not isinstance(prefix, str) or not _NAME.fullmatch(prefix):
            raise NotifyConfigError(
                "CloudEvents",
                f"prefix={prefix!r} is not a name",
                'Give one such as "com.example.shop"',
            )
        self.source = source
        self.prefix = prefix
        self._schema: str = event_schema()["$id"]

    def to_dict(self, event: Event) -> dict[str, Any]:
        """Return the CloudEvent, whose ``data`` is ``event.to_dict()``.

        :raises NotifyConfigError: as ``event.to_dict()``.
        """
        data = event.to_dict()
        return self._attributes(event, data) | {"data": data}

    def to_json(self, event: Event) -> str:
        """Return :meth:`to_dict` as JSON, on one line.

        :raises NotifyConfigError: as ``event.to_dict()``.
        """
        return text_of(self.to_dict(event))

    def _attributes(self, event: Event, data: dict[str, Any]) -> dict[str, Any]:
        attributes = {
            "specversion": "1.0",
            "id": _id_of(event, data),
            "source": self.source,
            "type": f"{self.prefix}.{data['event']}",
            "datacontenttype": "application/json",
            "dataschema": self._schema,
        }
        if isinstance(event, Notification):
            return attributes | {"subject": event.channel}
        if isinstance(event, Gap):
            return attributes
        return attributes | {"subject": _subject(data), "time": data["occurred_at"]}


def _id_of(event: Event, data: dict[str, Any]) -> str:
    if not isinstance(event, Change):
        return str(uuid4())
    if event.key is not None:
        return f"log-{event.key[0]}-{event.key[1]}"
    ordinal = event._message.ordinal(event._row)
    if data["event"] == "existing" or ordinal is None:
        return f"sha256-{sha256(text_of(data).encode(errors='surrogatepass')).hexdigest()}"
    return f"tx-{event.transaction_id}-{ordinal}"


def _subject(data: dict[str, Any]) -> str:
    if data["identity"] is None:
        return str(data["table"])
    return f"{data['table']}/{','.join(map(str, data['identity']))}"
