"""A consumed table that gets another name, or goes, while changes of it wait to be read."""

import sqlalchemy as sa
from statements import run

from sa_pgnotify import Consumer, Gap, NotifySpec, notify_on_change


def table(name: str) -> sa.Table:
    made = sa.Table(name, sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    return notify_on_change(made, NotifySpec(durable=True))


def consumed(engine, source, count):
    """So many events that the consumer ``a`` of ``source`` gets, and works off; those of a batch
    are not divided."""
    found = []
    with Consumer(engine, "a", source) as consumer:
        for batch in consumer:
            with batch:
                found.extend(batch)
            if len(found) >= count:
                return [
                    event.reason if isinstance(event, Gap) else event.identity for event in found
                ]


def test_what_waits_under_the_former_name_is_one_gap(engine):
    """The log names tables as they were called, so the unread changes of a renamed table cannot be
    delivered. That is reported once."""
    before, after = table("before"), table("after")
    before.metadata.create_all(engine)
    with Consumer(engine, "a", before):
        pass
    run(engine, "INSERT INTO before VALUES (1)", "ALTER TABLE before RENAME TO after")
    after.metadata.create_all(engine)
    run(engine, "INSERT INTO after VALUES (2)")
    assert consumed(engine, after, 2) == ["lost_position", (2,)]
    run(engine, "INSERT INTO after VALUES (3)")
    assert consumed(engine, after, 1) == [(3,)]


def test_a_new_name_alone_is_no_gap(engine):
    """If everything was read, a rename, or another set of tables, is not reported."""
    before, after, other = table("before"), table("after"), table("other")
    before.metadata.create_all(engine)
    other.metadata.create_all(engine)
    with Consumer(engine, "a", before):
        pass
    run(engine, "INSERT INTO before VALUES (1)")
    assert consumed(engine, before, 1) == [(1,)]
    run(engine, "ALTER TABLE before RENAME TO after")
    after.metadata.create_all(engine)
    run(engine, "INSERT INTO after VALUES (2)")
    assert consumed(engine, after, 1) == [(2,)]
    run(engine, "INSERT INTO after VALUES (3)", "INSERT INTO other VALUES (4)")
    assert consumed(engine, other, 1) == [(4,)]
