"""What ``sa-pgnotify doctor``, ``health``, ``metrics`` and ``grants`` examine and report.

It examines the server, its sessions, the triggers and the change log, and returns findings, each
with its fix. It changes nothing in the database. It may import every folder but ``testing`` and
``cli``.
"""

from typing import TYPE_CHECKING

from ..lazy_exports import lazy_exports
from .findings import Finding
from .grants import Grants, grants
from .readiness import LagLimits, readiness

if TYPE_CHECKING:
    from .doctor import diagnose
    from .metrics import Metrics

__all__ = ["Finding", "Grants", "LagLimits", "Metrics", "diagnose", "grants", "readiness"]

# Those that import much. A name that is also a module's must not be among them.
_PLACES = {"doctor": ("diagnose",), "metrics": ("Metrics",)}

if not TYPE_CHECKING:  # a type checker would accept any name
    __getattr__, __dir__ = lazy_exports(globals(), _PLACES)
