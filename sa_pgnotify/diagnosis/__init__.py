"""What ``sa-pgnotify doctor``, ``health``, ``metrics`` and ``grants`` examine and report.

It examines the server, its sessions, the triggers and the change log, and returns findings, each
with its fix. It changes nothing in the database. It may import every folder but ``testing`` and
``cli``.
"""

from .doctor import diagnose
from .findings import Finding
from .grants import Grants, grants
from .metrics import Metrics
from .readiness import LagLimits, readiness

__all__ = ["Finding", "Grants", "LagLimits", "Metrics", "diagnose", "grants", "readiness"]
