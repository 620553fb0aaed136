"""Publishes the orders of one shop: ``python relay.py DATABASE SHOP NATS``."""

import sys

from models import SHOPS, Order
from sqlalchemy import create_engine

from sa_pgnotify.relay import JetStream, Relay

database, shop, nats = sys.argv[1:]
# a relay's subjects begin with its name, and the stream takes those of all relays
subjects = [f"{name}.>" for name in SHOPS]
stream = JetStream(nats, stream="SHOPS", subjects=subjects, replicas=3)
Relay(create_engine(database), shop, Order, to=stream, start="beginning").run()
