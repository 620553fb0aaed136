"""Tools for tests of code that uses events, and of delivery on a server.

:class:`CapturedChanges` and :class:`AsyncCapturedChanges` capture events, also in tests that are
rolled back. In pytest, the fixture ``capture_changes`` of :mod:`sa_pgnotify.testing.plugin` makes
them. :class:`DeliveryCheck` writes changes, disturbs their delivery, and compares;
:class:`ClusterCheck` does so with a relay and a broker.
"""

from .capture.capture import AsyncCapturedChanges, CapturedChanges
from .cluster.check import ClusterCheck
from .delivery.check import DeliveryCheck
from .delivery.readers import Seen
from .delivery.report import Report
from .delivery.writers import Written

__all__ = [
    "AsyncCapturedChanges",
    "CapturedChanges",
    "ClusterCheck",
    "DeliveryCheck",
    "Report",
    "Seen",
    "Written",
]
