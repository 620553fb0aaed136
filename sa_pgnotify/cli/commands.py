"""The list of the commands, which is printed without importing any, and the import of the one that is
run."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.main import get_command

from .errors import ReportingGroup

__all__ = ["COMMANDS", "SETTINGS", "Program"]

COMMANDS = {
    "demo": ("demo", "Run a ten-second tour on a PostgreSQL server of its own."),
    "shell": ("shell", "Try things out on a bundled PostgreSQL server."),
    "watch": ("watch", "Print changes as they happen, until Ctrl-C."),
    "check": ("check", "List triggers that differ from what the models declare."),
    "sql": ("sql", "Print the DDL, to read or to run with psql."),
    "grants": ("grants", "Print the GRANT statements that a role needs."),
    "doctor": ("doctor", "Find what prevents changes from being delivered."),
    "health": ("health", "Check whether changes are published and consumed now."),
    "metrics": ("metrics", "Print figures of consumers and change logs for Prometheus."),
    "capture": ("capture", "Capture changes from the write-ahead log."),
    "consumers": ("consumers", "List the consumers, and how far each is behind."),
    "parked": ("operating", "List the changes that a consumer has parked."),
    "seek": ("operating", "Move a consumer to another place in the log."),
    "backfill": ("backfill", "Have a consumer give out rows that are there."),
    "forget": ("operating", "Forget the position of a consumer that will not come back."),
    "relay": ("relay", "Publish changes into a message broker, until Ctrl-C."),
    "prune": ("consumers", "Empty the change log as far as possible."),
}
"""For each command, the module of its function, and the first line of the function's docstring."""

WITH_COMMANDS = frozenset({"shell"})
"""Those whose arguments are a command with options of its own: sa-pgnotify shell psql -c "SELECT 1"."""

SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,  # plain help reads the same on a screen, in a pipe and in a log
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class Program(ReportingGroup):
    """The group of all commands, which imports the one that is run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name is None:
            return name, command, rest
        module = import_module(f".{COMMANDS[name][0]}", __package__)
        alone = typer.Typer(add_completion=False, **SETTINGS)
        own = {"allow_interspersed_args": name not in WITH_COMMANDS}
        alone.command(name, context_settings=own)(getattr(module, name))
        return name, get_command(alone), rest
