"""Copies for a DeliveryCheck whose snapshots have many pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import Engine

from sa_pgnotify import Consumer
from sa_pgnotify.scanning import entity_rows
from sa_pgnotify.testing import DeliveryCheck
from sa_pgnotify.testing.delivery.copies import MakeCopy


@dataclass(frozen=True)
class CopyInSmallPages(MakeCopy):
    """Reads as many rows at once as a batch has, in whichever process."""

    def consumer(self, engine: Engine) -> Consumer:
        entity_rows.PAGE_ROWS = 1
        return super().consumer(engine)


@dataclass
class SnapshotCheck(DeliveryCheck):
    """A check whose snapshots take long enough to be disturbed."""

    _copy: ClassVar[type[MakeCopy]] = CopyInSmallPages
