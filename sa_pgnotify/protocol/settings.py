"""The settings of a session on which the texts of values depend."""

from __future__ import annotations

from ..sql import Execute, literal

__all__ = ["FIXED_SETTINGS", "FIX_OUTPUT", "fix_output"]

FIXED_SETTINGS: dict[str, str | None] = {
    "datestyle": "ISO",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "lc_monetary": None,
}
"""The settings that output functions depend on, and the values for which texts are decoded; None:
the value that the installing role has, because a SELECT of the same application has it as well."""
FIX_OUTPUT = ", ".join(
    f"pg_catalog.set_config({literal(name)}, {literal(value)}, true)"
    for name, value in FIXED_SETTINGS.items()
    if value is not None
)
"""SQL, for a SELECT, that lets a session write values as messages have them, until its transaction
ends."""


def fix_output(execute: Execute) -> None:
    """Let the session write values as messages have them, until its transaction ends."""
    execute(f"SELECT {FIX_OUTPUT}")
