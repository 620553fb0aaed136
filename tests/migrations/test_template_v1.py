"""The SQL that template version 1 makes, which revisions name, stays as it is."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Any

import pytest

from sa_pgnotify.triggers.column_sql import FAMILIES
from sa_pgnotify.triggers.install_statement import InstallStatements
from sa_pgnotify.triggers.trigger_set import TriggerSet

CHANNEL = "orders' 100% :changes\t"


FILE = Path(__file__).with_name("template_v1.sql")


HEADER = "-- template version 1: "


FROZEN: dict[str, dict[str, Any]] = {
    "defaults": {"table": "orders", "schema": None, "columns": {"id": "integer", "status": "text"}, "key": ["id"]},
    "all families": {
        "table": "t", "schema": None, "columns": {f"a_{family}": family for family in FAMILIES}, "key": ["a_uuid"], "values": "all",
    },
    "every option, awkward names": {
        "table": "it's \"100%\" :t", "schema": "größe {0}", "columns": {"a\tb": "integer", "%(c)s": "text", "$$": "numeric"}, "key": ["a\tb"],
        "values": ["$$"], "update_of": ["%(c)s"], "operations": ["update", "delete"], "channel": CHANNEL,
        "condition": "new_row.\"%(c)s\" = '$function$ 100% :a'", "function": "sa_pgnotify_former name",
    },
    "hashed name, key of two, one operation": {
        "table": "x" * 60, "schema": "shop", "columns": {"b": "text", "a": "datetime"}, "key": ["a", "b"], "operations": ["insert"],
    },
    "discriminator": {
        "table": "orders", "schema": None, "columns": {"id": "integer", "kind": "text"}, "key": ["id"], "discriminator": "kind",
    },
    "discriminator of another table": {
        "table": "rush", "schema": None, "columns": {"id": "integer", "note": "text"}, "key": ["id"], "operations": ["update", "truncate"],
        "discriminator": {"table": "orders", "schema": "shop", "column": "kind", "key": {"id": "order_id"}},
    },
    "computed": {
        "table": "t", "schema": None, "columns": {"id": "integer", "twice": "integer"}, "key": ["id"], "values": "all",
        "virtual": ["twice"], "condition": "new_row.twice > 4",
    },
    "durable": {
        "table": "orders", "schema": None, "columns": {"id": "integer", "status": "text"}, "key": ["id"], "durable": True,
    },
    "durable, the log elsewhere, a condition": {
        "table": "orders", "schema": "shop", "columns": {"id": "integer", "kind": "other"}, "key": ["id"], "values": "all",
        "condition": "new_row.id > 4", "durable": True, "log_schema": "Audit",
    },
    "for each row": {
        "table": "orders", "schema": None, "columns": {"id": "integer", "status": "text"}, "key": ["id"], "for_each": "row",
    },
    "for each row, all families": {
        "table": "t", "schema": None, "columns": {f"a_{family}": family for family in FAMILIES}, "key": ["a_uuid"], "values": "all",
        "for_each": "row", "update_of": ["a_text"], "condition": "new_row.a_integer > 4", "channel": CHANNEL,
    },
    "for each row, computed, durable, discriminator of another table": {
        "table": "rush", "schema": None, "columns": {"id": "integer", "twice": "integer"}, "key": ["id"], "virtual": ["twice"],
        "discriminator": {"table": "orders", "schema": "shop", "column": "kind", "key": {"id": "order_id"}}, "durable": True,
        "for_each": "row",
    },
    "more columns than a SELECT takes": {
        "table": "t", "schema": None, "columns": {f"c{i}": "integer" for i in range(800)}, "key": ["c0"], "values": "all",
    },
}  # fmt: skip


def frozen(name: str) -> tuple[str, list[str]]:
    """What makes the function of a trigger set of version 1, or a hash where it is very long, with
    a hash of the whole statement; and the first alone."""
    made = TriggerSet.from_parameters(**FROZEN[name], version=1)
    statements = InstallStatements(made)
    function = "\n".join(statements.create_function)
    if len(function) > 60_000:
        function = f"-- sha256 of the function {hashlib.sha256(function.encode()).hexdigest()}"
    return (
        f"{function}\n-- sha256 of the statement {hashlib.sha256(statements.create.encode()).hexdigest()}",
        [function],
    )


def write() -> None:
    FILE.write_bytes(
        "\n\n".join(f"{HEADER}{name}\n{frozen(name)[0]};" for name in FROZEN).encode() + b"\n"
    )


@pytest.mark.parametrize("name", FROZEN)
def test_template_version_1_is_frozen(name):
    """What version 1 makes is byte for byte what it was when revisions were written that name it.

    The record is ``template_v1.sql``; ``python tests/migrations/test_template_v1.py`` writes it anew, which
    is right for a case that was added here, and for a change of the statement around the function,
    in ``triggers.py``; never for one of the function, once it is released.
    """
    recorded = dict(part.split("\n", 1) for part in FILE.read_bytes().decode().split(HEADER)[1:])
    assert name in recorded, f"the case is new: {test_template_version_1_is_frozen.__doc__}"
    statement, function = frozen(name)
    was = recorded[name].rstrip("\n")
    if was != f"{statement};":
        what = (
            "Only the statement around the function is not what it was, which is no part of version 1. If that is meant, write the file anew"
            if all(part in was for part in function)
            else "Version 1 is frozen, since revisions name it. A function that differs is a new template version, in a file of its own"
        )
        diff = "\n".join(
            difflib.unified_diff(
                was.split("\n"),
                f"{statement};".split("\n"),
                "as recorded",
                "as made",
                lineterm="",
                n=0,
            )
        )
        pytest.fail(f"{what}:\n{diff}", pytrace=False)


if __name__ == "__main__":
    write()
