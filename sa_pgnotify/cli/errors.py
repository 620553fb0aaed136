"""How an error ends a command: one line that says what to do, exit status 2, no password in it, and
no traceback unless asked for.

It stands around all commands, so that none of them needs to think of it.
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

__all__ = ["CommandError", "Debug", "Program", "keep_secret", "shown"]

STATUS = 2
"""Of an error; 1 says that something was found."""
_secrets: set[str] = set()
_DEBUG = "sa_pgnotify.debug"
_UsageError: Any = typer.BadParameter.__base__  # click's, or typer's own copy of it


class CommandError(Exception):
    """What is wrong with what a command was given; the message is one line, and names the fix."""


def keep_secret(*words: str | None) -> None:
    """See to it that none of ``words`` is printed with an error."""
    _secrets.update(word for word in words if word)


def shown(text: str) -> str:
    """``text`` without what is secret."""
    for word in sorted({*_secrets, os.environ.get("PGPASSWORD", "")} - {""}, key=len, reverse=True):
        text = text.replace(word, "***")
    return text


def _remember(context: typer.Context, value: bool) -> bool:
    if value:
        context.meta[_DEBUG] = True  # the contexts of all commands share it
    return value


Debug = Annotated[
    bool, typer.Option("--debug", callback=_remember, help="Show the traceback of an error.")
]


class Program(TyperGroup):
    """All commands."""

    def invoke(self, ctx: Any) -> Any:
        _secrets.clear()
        stream: Any
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                # a terminal that cannot show a character is no reason to end
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # who read the output has seen enough
            forget_output()
            raise typer.Exit(0) from None
        except _UsageError as error:
            # it quotes what was typed, and a URL may stand where none belongs
            error.message = re.sub(
                "://.*", "://...: a URL is given as --url URL", error.message, flags=re.DOTALL
            )
            raise
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            # of the models' module, a driver, the server: whoever typed the command is to read it
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
