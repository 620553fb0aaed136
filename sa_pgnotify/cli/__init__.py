"""The command line, ``sa-pgnotify``: one module for each command, and what they share.

A module is imported when its command is run, because a readiness probe starts the program every few
seconds.

It needs the extra ``cli``. It may import every folder but ``testing``; no folder imports it.
"""

from __future__ import annotations

import sys

try:
    import typer
except ImportError as error:
    # the script is installed with the package, but its libraries only with the extra
    sys.stderr.write("sa-pgnotify needs the extra cli: pip install 'sa_pgnotify[cli]'\n")
    raise SystemExit(2) from error

from .commands import COMMANDS, SETTINGS, Program
from .version import Version

__all__ = ["app"]

app = typer.Typer(cls=Program, no_args_is_help=True, **SETTINGS)


@app.callback()
def main(version: Version = False) -> None:
    """Change events for SQLAlchemy models on PostgreSQL.

    The database is given by --url or the environment variable DATABASE_URL. TARGET names the
    models, as package.module:Base.

    \b
    Exit status: 0 success; 1 something was found; 2 an error.
    """


def _not_imported() -> None:
    """Stand for a command until it is run."""


for name, (_, summary) in COMMANDS.items():
    app.command(name, help=summary)(_not_imported)
