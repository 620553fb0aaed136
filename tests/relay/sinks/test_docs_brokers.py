"""docs/relay-brokers.md runs, on brokers of this worker."""

from __future__ import annotations

from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from pages import ROOT, Page

from sa_pgnotify.relay import Relay


def test_the_page_runs(url, engine, kafka, redis, tmp_path, monkeypatch):
    """The programs of relay-brokers.md do what the page says, and print it."""
    text = (ROOT / "docs" / "relay-brokers.md").read_text()
    text = text.replace("localhost:9092", kafka.config["bootstrap.servers"])
    # with Tansu, a group takes half a minute to give its first member its partitions
    text = text.replace('subscribe(["shop.orders"])', "assign(PARTS)")
    text = text.replace("redis://localhost:6379/0", redis.url)
    (tmp_path / "page.md").write_text(text)
    page = Page(tmp_path / "page.md", url, engine, tmp_path, monkeypatch)
    page.names["PARTS"] = [TopicPartition("shop.orders", n, OFFSET_BEGINNING) for n in range(3)]
    relay = Relay.run

    def run(self):
        page._started.append(self)
        relay(self)

    monkeypatch.setattr(Relay, "run", run)
    page.run()
