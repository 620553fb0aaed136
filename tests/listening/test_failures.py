"""The listener in bad times: connections that are cut, stalled, refused and terminated.

One rule is under test: every committed change is delivered once, or a Gap stands in its place.
"""

import logging
import threading
import time

import pytest
from orders import ALL, order_class
from receiving import take
from sessions import terminate_listener
from sqlalchemy import event, text
from sqlalchemy.util import greenlet_spawn
from statements import run

from sa_pgnotify import (
    ConnectionLost,
    Gap,
    Inserted,
    ListenUnavailable,
    Notification,
)
from sa_pgnotify.drivers import connect
from sa_pgnotify.subscription.backoff import LONGEST_DELAY, Backoff

pytestmark = pytest.mark.kinds(2)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL, "sa_pgnotify")


def gap(listener, reason="reconnected") -> Gap:
    """The next event, which must be a Gap."""
    (event,) = take(listener, 1, timeout=20)
    assert isinstance(event, Gap), event
    assert event.reason == reason
    return event


@pytest.mark.parametrize("how", ["terminate", "cut"])
def test_a_lost_connection_is_reported_before_later_events(engine, proxied, proxy, how, Listener):
    """After a loss the listener reconnects by itself, and reports one Gap, and then later events,
    in order."""
    Order = order_class(engine, ALL)
    with Listener(proxied, Order) as listener:
        run(engine, "INSERT INTO orders VALUES (1, 'before')")
        assert take(listener, 1)[0].identity == (1,)
        proxy.cut() if how == "cut" else terminate_listener(engine)
        delivered = gap(listener)
        assert delivered.since.tzinfo is not None
        run(engine, "INSERT INTO orders VALUES (2, 'after')")
        (later,) = take(listener, 1)
        assert (type(later), later.identity) == (Inserted, (2,))
        assert (listener.stats.reconnects, listener.stats.gaps, listener.stats.connected) == (
            1,
            1,
            True,
        )


def test_nothing_comes_twice_and_the_gap_covers_what_is_missing(engine, proxied, proxy, Listener):
    """What is written while the connection is away is covered by the Gap's `since`, and never
    delivered late."""
    Order = order_class(engine, ALL)
    with Listener(proxied, Order) as listener:
        proxy.refuse()
        proxy.cut()
        while listener.stats.connected:
            threading.Event().wait(0.01)
        run(engine, "INSERT INTO orders VALUES (1, 'meanwhile')")
        with engine.connect() as connection:
            written = connection.scalar(text("SELECT clock_timestamp()"))
        proxy.accept()
        assert gap(listener).since < written
        run(engine, "INSERT INTO orders VALUES (2, 'after')")
        assert take(listener, 1)[0].identity == (2,)


def test_what_arrived_before_the_loss_is_delivered_before_the_gap(engine, proxied, proxy, Listener):
    """Events that had reached the program are not lost with the connection."""
    Order = order_class(engine, ALL)
    with Listener(proxied, Order) as listener:
        run(engine, "INSERT INTO orders SELECT i, '' FROM generate_series(1, 500) AS i")
        while listener.stats.received < 500:
            threading.Event().wait(0.01)
        terminate_listener(engine)
        assert [e.identity for e in take(listener, 500)] == [(i,) for i in range(1, 501)]
        gap(listener)


def test_half_open_connection_is_found_within_two_heartbeats(engine, proxied, proxy, Listener):
    """A connection over which nothing comes any more, and that nobody closed, is found out by the
    heartbeat."""
    Order = order_class(engine, ALL)
    with Listener(proxied, Order, heartbeat=0.5) as listener:
        proxy.stall()
        started = time.monotonic()
        while listener.stats.connected:
            assert time.monotonic() - started < 5
            threading.Event().wait(0.01)
        assert time.monotonic() - started < 2 * 0.5 + 0.5
        proxy.flow()
        gap(listener)
        run(engine, "INSERT INTO orders VALUES (1, '')")
        assert take(listener, 1)[0].identity == (1,)


def test_stop_while_disconnected_and_while_stalled(engine, proxied, proxy, Listener):
    """stop() takes less than 0.2 s whatever the connection is doing."""
    Order = order_class(engine, ALL)
    listener = Listener(proxied, Order, heartbeat=0.2).start()
    proxy.refuse()
    proxy.cut()
    while listener.stats.connected:
        threading.Event().wait(0.01)
    started = time.monotonic()
    listener.stop()
    assert time.monotonic() - started < 0.2

    proxy.accept()
    listener.start()
    proxy.stall()
    threading.Event().wait(0.3)  # until it waits for the answer to a heartbeat
    started = time.monotonic()
    listener.stop()
    assert time.monotonic() - started < 0.2


def test_the_subscriptions_come_back(engine, proxied, proxy, Listener):
    """After a reconnect, everything subscribed at run time is listened to again, and what was
    unsubscribed is not."""
    Order = order_class(engine, ALL)
    with Listener(proxied, "a", "b") as listener:
        listener.subscribe(Order, "c")
        listener.unsubscribe("b")
        proxy.cut()
        gap(listener)
        run(engine, "NOTIFY a", "NOTIFY b", "NOTIFY c", "INSERT INTO orders VALUES (1, '')")
        events = take(listener, 3)
        assert [getattr(e, "channel", None) for e in events] == ["a", "c", None]


def test_subscribing_while_disconnected_waits_for_the_connection(engine, proxied, proxy, Listener):
    """subscribe() returns only when the database has confirmed, also if the connection has to come
    back first."""
    Order = order_class(engine, ALL)
    with Listener(proxied, "a") as listener:
        proxy.refuse()
        proxy.cut()
        while listener.stats.connected:
            threading.Event().wait(0.01)
        thread = threading.Thread(target=listener.subscribe, args=(Order,))
        thread.start()
        proxy.accept()
        thread.join(20)
        assert not thread.is_alive()
        gap(listener)
        run(engine, "INSERT INTO orders VALUES (1, '')")
        assert take(listener, 1)[0].identity == (1,)


def test_stopping_ends_a_waiting_subscribe(proxied, proxy, Listener):
    """A subscribe() that can no longer succeed raises instead of waiting for ever."""
    listener = Listener(proxied, "a").start()
    proxy.refuse()
    proxy.cut()
    while listener.stats.connected:
        threading.Event().wait(0.01)
    errors = []

    def subscribe():
        try:
            listener.subscribe("b")
        except ConnectionLost as error:
            errors.append(error)

    thread = threading.Thread(target=subscribe)
    thread.start()
    while not listener._receiver.commands.waiting:
        threading.Event().wait(0.01)
    listener.stop()
    thread.join(5)
    assert len(errors) == 1


def test_transaction_pooler_is_refused(proxied, proxy, Listener):
    """Behind a pooler that swallows notifications, start() raises an error, instead of waiting for
    events that never come."""
    proxy.censor_notifications = True
    import sa_pgnotify.subscription.subscribe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sa_pgnotify.subscription.probe, "PROBE_SECONDS", 0.5)
        with pytest.raises(ListenUnavailable, match="pool_mode") as caught:
            Listener(proxied, "a").start()
    assert caught.value.reason == "pooler"


def test_triggers_gone_after_a_reconnect_are_named_in_the_gap(engine, proxied, proxy, Listener):
    """When the triggers were dropped while the connection was away, the Gap's detail names the
    table."""
    Order = order_class(engine, ALL)
    with Listener(proxied, Order) as listener:
        run(engine, "DROP TRIGGER sa_pgnotify_insert ON orders")
        proxy.cut()
        assert "orders" in gap(listener).detail


def test_a_creator_that_fails_once_is_asked_again(engine, url, kind):
    """Whatever exception the program's creator raises while the connection is away, it is called
    again, and a Gap covers the loss."""
    Order = order_class(engine, ALL)
    failures = []
    fickle = kind.engine(url)

    @event.listens_for(fickle.sync_engine if kind.is_async else fickle, "do_connect")
    def fail(*_):
        if failures:
            raise failures.pop()

    with kind.listener(fickle, Order) as listener:
        failures += [RuntimeError("the vault is sealed"), KeyError("token")]
        terminate_listener(engine)
        gap(listener)
        assert failures == []
        run(engine, "INSERT INTO orders VALUES (1, '')")
        assert take(listener, 1)[0].identity == (1,)


def test_stop_while_start_is_at_work(engine, proxied, proxy, Listener):
    """stop() from another thread, or from a signal handler, ends a start() that waits for a silent
    server, and every later iteration."""
    order_class(engine, ALL)
    listener = Listener(proxied, "a")
    proxy.censor_notifications = True  # so that start() waits for its probe
    thread = threading.Thread(target=listener.start)
    thread.start()
    while not (listener._receiver and listener._receiver.link._opened and proxy.connections > 1):
        threading.Event().wait(0.01)
    started = time.monotonic()
    listener.stop()
    thread.join(5)
    assert time.monotonic() - started < 0.5
    assert list(listener) == []


def test_stop_while_a_reconnect_waits_for_its_probe(engine, proxied, proxy, Listener):
    """stop() takes less than 0.2 s also while a new connection is being tried out."""
    order_class(engine, ALL)
    listener = Listener(proxied, "a").start()
    before = proxy.connections
    proxy.censor_notifications = True
    proxy.cut()
    while proxy.connections < before + 2:
        threading.Event().wait(0.01)
    threading.Event().wait(0.1)  # until it waits for the notification
    started = time.monotonic()
    listener.stop()
    assert time.monotonic() - started < 0.2


def test_a_fault_in_the_thread_is_not_silence(engine, monkeypatch, Listener):
    """If the reading thread fails, taking events raises its error."""
    with Listener(engine, "a") as listener:
        for name in ("try_single", "notified"):
            monkeypatch.setattr(listener._receiver.stream, name, lambda *_: 1 / 0)
        run(engine, "NOTIFY a")
        with pytest.raises(ZeroDivisionError):
            listener.get(10)
        with pytest.raises(ZeroDivisionError):
            next(iter(listener))


def test_an_error_raised_again_and_again_does_not_grow(engine, monkeypatch, Listener):
    """If events are asked for a thousand times after reading has failed, the error has one
    traceback each time, not a thousand."""
    with Listener(engine, "a") as listener:
        for name in ("try_single", "notified"):
            monkeypatch.setattr(listener._receiver.stream, name, lambda *_: 1 / 0)
        run(engine, "NOTIFY a")
        lengths = set()
        for _ in range(5):
            with pytest.raises(ZeroDivisionError) as caught:
                listener.get(10)
            lengths.add(len(caught.traceback))
        assert "<lambda>" in {entry.name for entry in caught.traceback}
        assert len(lengths) <= 2  # the first may have waited


def test_a_goodbye_without_an_end_is_a_loss(engine, proxied, proxy, Listener):
    """When the server has said goodbye, and the end of the connection is held up on its way, the
    connection is lost, not the listener."""
    with Listener(proxied, "a", heartbeat=0.2) as listener:
        proxy.hold_ends()
        terminate_listener(engine)
        assert take(listener, 1, timeout=20)[0].reason == "reconnected"
        run(engine, "NOTIFY a")
        assert isinstance(take(listener, 1)[0], Notification)


def test_interrupting_what_another_thread_has_closed(url, kind):
    """stop() in one thread and a loss found by another may meet: neither raises."""
    engine = kind.engine(url)
    sync_engine = getattr(engine, "sync_engine", engine)

    def twice() -> None:
        connection = connect(sync_engine)
        raw = connection._raw
        connection.close()
        connection._raw = Open(raw)
        connection.interrupt()

    class Open:
        """Says that it is open still, as it was when the other thread looked."""

        closed = False

        def __init__(self, raw):
            self._raw = raw

        def __getattr__(self, name):
            return getattr(self._raw, name)

    kind.wait(greenlet_spawn(twice)) if kind.is_async else twice()


def test_the_wait_between_attempts_grows_and_is_jittered():
    """Attempts to reconnect come later and later, up to half a minute, and not at the same moment
    in a thousand programs."""
    backoff = Backoff()
    delays = [backoff.delay() for _ in range(200)]
    assert all(0 <= delay <= LONGEST_DELAY for delay in delays)
    assert max(delays[:3]) < 1
    assert max(delays) > LONGEST_DELAY / 2
    assert len({round(delay, 6) for delay in delays}) > 100
    backoff.settled()
    assert backoff.delay() < 1
