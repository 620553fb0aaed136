"""The command line, ``sa-pgnotify``: one module for each command, and what they share.

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

from .backfill import backfill
from .capture import capture
from .check import check
from .consumers import consumers, prune
from .demo import demo
from .doctor import doctor
from .errors import Program
from .grants import grants
from .health import health
from .metrics import metrics
from .operating import forget, parked, seek
from .relay import relay
from .shell import shell
from .sql import sql
from .version import Version
from .watch import watch

__all__ = ["app"]

app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help reads the same on a screen, in a pipe and in a log
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def main(version: Version = False) -> None:
    """Change events for SQLAlchemy models on PostgreSQL.

    The database is given by --url or the environment variable DATABASE_URL. TARGET names the
    models, as package.module:Base.

    \b
    Exit status: 0 success; 1 something was found; 2 an error.
    """


app.command()(demo)
# what follows the command is its own: sa-pgnotify shell psql -c "SELECT 1"
app.command(context_settings={"allow_interspersed_args": False})(shell)
for command in (
    watch,
    check,
    sql,
    grants,
    doctor,
    health,
    metrics,
    capture,
    consumers,
    parked,
    seek,
    backfill,
    forget,
    relay,
    prune,
):
    app.command()(command)
