"""Live pages: the steps of live queries as server-sent events or on a WebSocket, for many browsers.

All browsers of a process share its feed, and those that see the same rows share one query. It needs
the extra ``web`` (starlette, which FastAPI and Litestar programs have). It may import ``live`` and
what that imports; no folder imports it.
"""

from __future__ import annotations

try:
    import starlette  # noqa: F401
except ImportError as error:
    raise ImportError("sa_pgnotify.web needs starlette: pip install 'sa_pgnotify[web]'") from error

from ..live.row_security import RowSecurity
from .hub import Hub

__all__ = ["Hub", "RowSecurity"]
