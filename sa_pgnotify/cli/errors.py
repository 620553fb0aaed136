"""How an error ends a command: with exit status 2 and one line that says what to do, without a
password, and without a traceback unless ``--debug`` is given.

This wraps all commands, so that none of them has to handle it.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from typing import Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from typer.core import TyperGroup

from .console import errors, forget_output

__all__ = ["CommandError", "Debug", "ReportingGroup", "keep_secret", "shown"]

STATUS = 2
"""The exit status of an error; 1 means that something was found."""
_secrets: set[str] = set()
_DEBUG = "sa_pgnotify.debug"
_UsageError: Any = typer.BadParameter.__base__  # click's class, or typer's own copy of it


class CommandError(Exception):
    """A command cannot use its arguments; the message is one line, and names the fix."""


def keep_secret(*words: str | None) -> None:
    """Keep ``words`` out of everything that is printed about an error."""
    _secrets.update(word for word in words if word)


def shown(text: str) -> str:
    """Return ``text`` with its secret words replaced."""
    for word in sorted({*_secrets, os.environ.get("PGPASSWORD", "")} - {""}, key=len, reverse=True):
        text = text.replace(word, "***")
    return text


def _remember(context: typer.Context, value: bool) -> bool:
    if value:
        context.meta[_DEBUG] = True  # shared by the contexts of all commands
    return value


Debug = Annotated[
    bool, typer.Option("--debug", callback=_remember, help="Show the traceback of an error.")
]


class ReportingGroup(TyperGroup):
    """A group of commands that reports their errors."""

    def invoke(self, ctx: Any) -> Any:
        _secrets.clear()
        stream: Any
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                # do not fail because a terminal cannot show a character
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of the output has closed the pipe
            forget_output()
            raise typer.Exit(0) from None
        except _UsageError as error:
            # the message quotes what was typed, which may be a URL in the wrong place
            error.message = re.sub(
                "://.*", "://...: a URL is given as --url URL", error.message, flags=re.DOTALL
            )
            raise
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            # from the models' module, a driver or the server: show it to the user
            if ctx.meta.get(_DEBUG):
                errors().print(shown("".join(traceback.format_exception(error))), end="")
            errors().print(f"sa-pgnotify: {shown(_line(error))}", soft_wrap=True)
            raise typer.Exit(STATUS) from error


def _line(error: Exception) -> str:
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig
    text = str(cause).strip().partition("\n")[0]
    ours = isinstance(error, CommandError | SQLAlchemyError)
    return text if ours and text else f"{type(cause).__name__}: {text}. --debug shows where"
