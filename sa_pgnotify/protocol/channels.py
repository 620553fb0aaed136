"""The names of channels: which ones PostgreSQL takes, and the default one of a table."""

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
"""Channel names are identifiers: NAMEDATALEN - 1 bytes."""
HASHED = "sa_pgnotify_"
"""What a default channel begins with whose table's name is too long for one."""

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
"""SQL for the name of a table in messages, which is its default channel too, and for what stands
for it as a channel where it exceeds 63 bytes. The trigger evaluates them when it fires and the
listener when it listens, so that both agree in every schema; and not by quote_ident(), whose answer
hangs on a setting of the writer's."""
DEFAULT_CHANNEL = f"CASE WHEN pg_catalog.octet_length({{name}}) <= {CHANNEL_BYTES} THEN {{name}} ELSE {CHANNEL_HASH} END"
"""SQL for the default channel of a table, given the SQL for its name in messages."""


def check_channel(name: str, subject: str) -> None:
    """:raises NotifyConfigError: if PostgreSQL would refuse or cut ``name`` as a channel."""
    try:
        size = len(name.encode())
    except (AttributeError, UnicodeEncodeError) as error:
        raise NotifyConfigError(
            subject, f"channel {name!r} is no text that UTF-8 can write. Choose another name"
        ) from error
    if not 0 < size <= CHANNEL_BYTES or "\0" in name:
        raise NotifyConfigError(
            subject,
            f"channel {name!r} is {size} bytes; PostgreSQL takes 1 to {CHANNEL_BYTES}, none of them NUL. Choose a shorter one",
        )
