"""docs/stream-consumer.md runs, on a NATS server of this worker."""

from __future__ import annotations

from pages import ROOT, Page

from sa_pgnotify.streaming import StreamConsumer


def test_the_page_runs(url, engine, nats, tmp_path, monkeypatch):
    """The programs of stream-consumer.md do what the page says."""
    text = (ROOT / "docs" / "stream-consumer.md").read_text().replace("nats://localhost", nats.url)
    text = text.replace("///billing", "///shop").replace(
        "```sh", "<!-- not run: commands -->\n```sh"
    )
    (tmp_path / "page.md").write_text(text)
    page = Page(tmp_path / "page.md", url, engine, tmp_path, monkeypatch)
    page.names["_started"] = relays = []
    monkeypatch.setattr(StreamConsumer, "start", page._watched(StreamConsumer.start))
    try:
        page.run()
    finally:
        for one in relays:
            one.stop()
