"""For those who test: their own code that uses events, and whether delivery holds on their server.

:class:`CapturedChanges` and :class:`AsyncCapturedChanges` catch what is told, also in tests that
    are rolled back; the fixture
``capture_changes`` of :mod:`sa_pgnotify.testing.plugin` makes them in pytest.
:class:`DeliveryCheck` writes, disturbs and compares.
"""

from .capture.capture import AsyncCapturedChanges, CapturedChanges
from .delivery.check import DeliveryCheck, Report
from .delivery.readers import Seen
from .delivery.writers import Written

__all__ = ["AsyncCapturedChanges", "CapturedChanges", "DeliveryCheck", "Report", "Seen", "Written"]
