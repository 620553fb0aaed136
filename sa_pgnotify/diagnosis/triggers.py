"""Checks of the installed triggers: which publish, which do not, and what is left over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy import Connection

from ..sql import Execute, execute_on
from ..triggers.installation import Installation, read_installation
from .findings import Finding
from .hazards import hazards

__all__ = ["triggers"]


def triggers(connection: Connection) -> Iterator[Finding]:
    """Report what is installed, and what keeps it from publishing changes."""
    installation = read_installation(connection)
    execute = execute_on(connection)
    for examine in CHECKS:
        yield from examine(execute, installation)


def _nothing(_: Execute, installation: Installation) -> Iterator[Finding]:
    if not installation.sets and not installation.damaged and not installation.hidden:
        text = "No table of this database has triggers of sa_pgnotify."
        fix = "Mark a model and run metadata.create_all(engine), or the migration that installs the triggers."
        yield Finding("note", "triggers", text, fix)


def _publishing(_: Execute, installation: Installation) -> Iterator[Finding]:
    names = [
        f"{name} (durable)" if wanted.marking.durable else name
        for name, wanted in sorted(installation.sets.items())
        if wanted.marking.triggered
        and not installation.silent(name)
        and not installation.found[name].lacks(wanted)
    ]
    if names:
        yield Finding("good", "triggers", f"Installed and enabled on {', '.join(names)}.")


def silent(_: Execute, installation: Installation) -> Iterator[Finding]:
    """Report the tables whose changes are not published, or only as gaps."""
    for name in sorted(installation.sets):
        if lacking := installation.found[name].lacks(installation.sets[name]):
            text = f"The triggers of {name} read {', '.join(lacking)}, which the table no longer has: each change is reported as a gap."
            fix = (
                "Run the migration, or metadata.create_all(engine), of the models as they are now."
            )
            yield Finding("problem", "triggers", text, fix)
        for trigger in installation.silent(name):
            yield _silent_trigger(installation, name, trigger)


def _silent_trigger(installation: Installation, name: str, trigger: str) -> Finding:
    existing = installation.found[name].triggers
    if trigger not in existing:
        how = "is missing"
        fix = "Run metadata.create_all(engine), or the migration that installs the triggers."
    else:
        how = "fires on replicas only" if existing[trigger].enabled == "R" else "is disabled"
        fix = f"ALTER TABLE {installation.sets[name].qualified_table} ENABLE TRIGGER {trigger};"
    text = f"The trigger {trigger} of {name} {how}: its changes are no longer published."
    return Finding("problem", "triggers", text, fix)


def damaged(_: Execute, installation: Installation) -> Iterator[Finding]:
    for name, function in sorted(installation.damaged.items()):
        text = f"The function {function.name} of {name} does not say what it was made from, or was made by a newer sa_pgnotify."
        fix = "Install that version, or run metadata.create_all(engine), or the migration, again."
        yield Finding("warning", "triggers", text, fix)


def _hidden(_: Execute, installation: Installation) -> Iterator[Finding]:
    if installation.hidden:
        text = (
            f"Installed on {', '.join(installation.hidden)} too, in schemas that this role may not use,"
            " so it can neither see these tables nor listen to them."
        )
        fix = "GRANT USAGE ON SCHEMA of each TO this role, or run doctor as a role that has it."
        yield Finding("note", "triggers", text, fix)


def _unused(_: Execute, installation: Installation) -> Iterator[Finding]:
    for function in installation.unused:
        text = f"No trigger runs the function {function.name}."
        drop = f'DROP FUNCTION "{function.schema}"."{function.name}"();'
        fix = f"{drop} unless a table should get its triggers back."
        yield Finding("note", "triggers", text, fix)


CHECKS: tuple[Callable[[Execute, Installation], Iterator[Finding]], ...] = (
    _nothing,
    _publishing,
    silent,
    damaged,
    _hidden,
    hazards,
    _unused,
)
"""In the order in which their findings are reported."""
