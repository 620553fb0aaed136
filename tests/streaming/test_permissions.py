"""The permissions of NATS that docs/security.md lists are enough, and what is missing is named."""

from __future__ import annotations

from brokers import Nats
from pages import ROOT, blocks
from relays import Running
from servers import data_folder
from sqlalchemy import insert, select
from statements import run
from streams import DONE, Member
from waiting import wait_until

from sa_pgnotify.relay import JetStream, Relay
from sa_pgnotify.streaming import StreamConsumer


def test_what_the_page_lists_is_enough(engine, sessions, Item, monkeypatch):
    """A relay creates its stream and publishes, and a member creates the bucket and handles a change,
    each with no more than security.md lists; a relay without a permission reports which."""
    monkeypatch.setattr("sa_pgnotify.relay.nats_client.SINK_SECONDS", 1.0)
    page = blocks(ROOT / "docs" / "security.md")
    (listed,) = [block.code for block in page if block.code.startswith("authorization")]
    Item.metadata.create_all(engine)
    states = []

    def handler(session, change):
        session.execute(insert(DONE), {"id": change.identity[0], "n": 1, "relay": ""})

    with data_folder() as data:
        configuration = data.with_suffix(".conf")
        users = "users: [{user: root, password: secret},"
        configuration.write_text(listed.replace("users: [", users))
        nats = Nats(data, None, "-c", str(configuration))
        address, nats.url = (
            nats.url.removeprefix("nats://"),
            nats.url.replace("//", "//root:secret@"),
        )
        nats.start()

        def to(user):
            return JetStream(f"nats://{user}:secret@{address}", "SHOP")

        try:
            consumer = StreamConsumer(
                to("billing"), "billing", Item, session_factory=sessions, start="beginning"
            )
            with Running(Relay(engine, "shop", Item, to=to("relay"), start="beginning")):
                run(engine, "INSERT INTO items (id, n) VALUES (1, 1)")
                wait_until(lambda: nats.count("SHOP") == 1)
            member = Member(consumer, handler, states)
            wait_until(lambda: query(engine) == [1] or member.error)
            assert member.stop() is None
            with Running(
                Relay(engine, "shop", Item, to=to("billing"), on_state=states.append)
            ) as wrong:
                run(engine, "INSERT INTO items (id, n) VALUES (2, 2)")
                wait_until(lambda: "permissions violation" in str(states) or wrong.error)
            assert 'publish to "shop.items.2"' in str(states), states
        finally:
            nats.kill()


def query(engine):
    with engine.connect() as connection:
        return list(connection.execute(select(DONE.c.id)).scalars())
