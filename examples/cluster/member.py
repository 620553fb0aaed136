"""Writes an invoice for each order of all shops: ``python member.py NATS DATABASE``. Run as many as you
like, anywhere. It connects to NATS and to billing's own database, and to none of the shops'."""

import sys

from models import Invoice, Order
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from sa_pgnotify import Inserted
from sa_pgnotify.relay import JetStream
from sa_pgnotify.streaming import StreamConsumer

nats, database = sys.argv[1:]
billing = sessionmaker(create_engine(database))
stream = JetStream(nats, stream="SHOPS")
with StreamConsumer(
    stream, "billing", Order, session_factory=billing, start="beginning", batch_size=100, lease=3.0
) as consumer:
    for batch in consumer:
        with batch as session:  # the invoices and the place in the stream are committed together
            for message in batch.messages():
                order = message.event
                if isinstance(order, Inserted):
                    (number,), total = order.identity, order.new["total"]
                    session.add(
                        Invoice(
                            shop=message.relay,
                            order_id=number,
                            amount=total,
                            member=consumer.member,
                        )
                    )
