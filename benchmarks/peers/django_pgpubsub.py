"""django-pgpubsub: a listener of a model's trigger channel, ``plain`` or ``locking`` (notifications
are stored, locked and deleted).

When its connection fails it ends, and by default starts again as a new process. Here it starts
again in the same process, with ``recover`` if it stores notifications.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import django
from django.conf import settings

from .protocol import Table, Tally, one_line, serve

LOCKING = sys.argv[1] == "locking"
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "pgtrigger", "pgpubsub"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"} | {k: os.environ.get(f"PG{v}", "") for k, v in
               {"NAME": "DATABASE", "USER": "USER", "PASSWORD": "PASSWORD", "HOST": "HOST", "PORT": "PORT"}.items()}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    LOGGING_CONFIG=None,
)  # fmt: skip
django.setup()

import pgtrigger  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, models  # noqa: E402
from pgpubsub import TriggerChannel, post_save_listener  # noqa: E402
from pgpubsub import listen as listening  # noqa: E402


class Order(models.Model):
    id = models.BigAutoField(primary_key=True)
    note = models.TextField(null=True)
    price = models.DecimalField(max_digits=10, decimal_places=2, null=True)
    placed_at = models.DateTimeField(null=True)
    detail = models.JSONField(null=True)
    qty = models.IntegerField(null=True)

    class Meta:
        app_label = "pgpubsub"  # one that is installed
        db_table = "orders"
        managed = False


@dataclass
class Orders(TriggerChannel):
    model = Order
    lock_notifications = LOCKING


TALLY: Any = None


@post_save_listener(Orders)
def told(old: Any, new: Any) -> None:
    TALLY.received(new.pk, new.__dict__)


def install(tables: list[Table]) -> None:
    call_command("migrate", verbosity=0)
    pgtrigger.install()


def listen(tables: list[Table], options: dict[str, Any], tally: Tally) -> None:
    global TALLY  # noqa: PLW0603 (its callbacks are functions of a module)
    TALLY = tally
    begin = listening.listen_to_channels

    def begin_and_tell(channels: Any = None) -> Any:
        wrapper = begin(channels)
        tally.ready()
        return wrapper

    listening.listen_to_channels = begin_and_tell
    again = False
    while True:
        try:
            listening.listen(recover=LOCKING and again, autorestart_on_failure=False)
        except Exception as error:
            if not tally.listening.is_set():
                raise
            tally.told(one_line(error))
            again = True
            connection.close()
            time.sleep(0.1)


if __name__ == "__main__":
    serve(install, listen)
