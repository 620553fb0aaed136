"""Live pages: the steps of live queries for many browsers, over server-sent events or WebSockets.

All browsers of a process share one feed, and browsers that see the same rows share one query. The
folder needs the extra ``web``, which adds Starlette. It may import ``live`` and what ``live``
imports; no other folder imports it.
"""

from __future__ import annotations

try:
    import starlette  # noqa: F401
except ImportError as error:
    raise ImportError("sa_pgnotify.web needs starlette: pip install 'sa_pgnotify[web]'") from error

from ..live.row_security import RowSecurity
from .hub import Hub

__all__ = ["Hub", "RowSecurity"]
