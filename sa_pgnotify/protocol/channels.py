"""The names of channels: which ones PostgreSQL accepts, and the default channel of a table."""

from __future__ import annotations

from ..errors import NotifyConfigError

__all__ = [
    "CHANNEL_BYTES",
    "CHANNEL_HASH",
    "DEFAULT_CHANNEL",
    "HASHED",
    "RELATION",
    "check_channel",
]

CHANNEL_BYTES = 63
"""The longest name of a channel: names are identifiers, of NAMEDATALEN - 1 bytes at most."""
HASHED = "sa_pgnotify_"
"""The beginning of a default channel whose table's name is too long for a channel."""

RELATION = (
    "CASE WHEN pg_catalog.translate(pg_catalog.concat({schema}, {table}), 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = ''"
    " THEN pg_catalog.concat({schema}, '.', {table}) ELSE pg_catalog.translate(pg_catalog.concat('\"',"
    " pg_catalog.replace({schema}::text, '\"', '\"\"'), '\".\"', pg_catalog.replace({table}::text, '\"', '\"\"'), '\"'),"
    " E'\\x1b\\x1e\\x1f', '   ') END"
)
CHANNEL_HASH = (
    f"'{HASHED}' || pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256("
    "pg_catalog.convert_to({name}, 'UTF8')), 'hex'), 1, 40)"
)
"""SQL for the name of a table in messages, which is also its default channel, and for the channel that
replaces the name if it exceeds 63 bytes.

The trigger evaluates it when it fires and the listener when it listens, so that both agree in every
schema. quote_ident() is not used, because its result depends on a setting of the writer."""
DEFAULT_CHANNEL = f"CASE WHEN pg_catalog.octet_length({{name}}) <= {CHANNEL_BYTES} THEN {{name}} ELSE {CHANNEL_HASH} END"
"""SQL for the default channel of a table, given SQL for the table's name in messages."""


def check_channel(name: str, subject: str) -> None:
    """Check the name of a channel.

    :raises NotifyConfigError: if PostgreSQL would refuse or truncate ``name`` as a channel.
    """
    try:
        size = len(name.encode())
    except (AttributeError, UnicodeEncodeError) as error:
        raise NotifyConfigError(
            subject, f"channel {name!r} cannot be encoded in UTF-8", "Choose another name"
        ) from error
    if not 0 < size <= CHANNEL_BYTES or "\0" in name:
        raise NotifyConfigError(
            subject,
            f"channel {name!r} has {size} bytes; PostgreSQL accepts 1 to {CHANNEL_BYTES}, none of them NUL",
            "Choose a shorter one",
        )
