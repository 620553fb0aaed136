"""What ``sa-pgnotify doctor`` examines, and what it finds.

It examines the server, its sessions, the triggers and the change log, and returns findings, each
with its fix. It changes nothing in the database. It may import every folder but ``testing`` and
``cli``.
"""

from .doctor import diagnose
from .findings import Finding

__all__ = ["Finding", "diagnose"]
