"""The comment on a trigger function: the parameters that it was made from, as JSON.

A downgrade restores from it what an upgrade replaced, and a program without models learns from it
what is installed. Anybody can edit a comment, so one is trusted only if its parameters make
triggers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from ..errors import NotifyConfigError
from .names import COMMENT_PREFIX, FUNCTION_PREFIX, function_name
from .parameters import check_arguments, from_parameters
from .templates import TEMPLATES

__all__ = ["parameters_in", "read_comment", "write_comment"]

BESIDE_PARAMETERS = ("table", "resolved")
"""What a comment holds beside the parameters: the table's name, if the function's name does not
hold it, and the SQL that the server put in the place of marks."""


def write_comment(table: str, function: str | None, parameters: Mapping[str, Any]) -> str:
    """Return the comment for the function of ``table``.

    :param function: the function's name, if it is not the one that goes with the table's name.
    """
    content = {name: value for name, value in parameters.items() if name != "function"}
    if function_name(table, function) not in (function, FUNCTION_PREFIX + table):
        content["table"] = table  # the function's name holds a hash of it
    return COMMENT_PREFIX + json.dumps(content, ensure_ascii=False)


def read_comment(comment: str | None) -> dict[str, Any] | None:
    """Return what :func:`write_comment` wrote, and ``resolved`` if the installing statement added
    it.

    Of a comment that names a newer template version, only the version is returned. None means that
    the comment is damaged, or was not written by this library.
    """
    content = None if comment is None else _content(comment)
    return None if content is None else dict(content)


@lru_cache(maxsize=1000)
def _content(comment: str) -> Mapping[str, Any] | None:
    # A start reads each comment several times, and a reconnect once more.
    if not comment.startswith(COMMENT_PREFIX):
        return None
    with suppress(ValueError, TypeError, KeyError, AttributeError, NotifyConfigError):
        content = json.loads(comment[len(COMMENT_PREFIX) :])
        if type(content["version"]) is int and content["version"] not in TEMPLATES:
            return {"version": content["version"]}
        table, parameters = content.get("table", ""), parameters_in(content)
        from_parameters(table, **check_arguments(table, **parameters))
        return MappingProxyType(content)
    return None


def parameters_in(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters among what :func:`read_comment` returned, the version included."""
    return {name: value for name, value in content.items() if name not in BESIDE_PARAMETERS}
