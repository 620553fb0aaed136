"""docs/relay.md runs, on a NATS server of its own."""

from __future__ import annotations

from brokers import nats_server
from pages import ROOT, Page

from sa_pgnotify.relay import Relay


def test_the_page_runs(url, engine, tmp_path, monkeypatch):
    """The programs of relay.md do what the page says, and print it."""
    with nats_server() as server:
        text = (ROOT / "docs" / "relay.md").read_text().replace("nats://localhost", server.url)
        (tmp_path / "relay.md").write_text(
            text.replace("```sh", "<!-- not run: commands -->\n```sh")
        )
        page = Page(tmp_path / "relay.md", url, engine, tmp_path, monkeypatch)
        relay = Relay.run

        def run(self):
            page._started.append(self)
            relay(self)

        monkeypatch.setattr(Relay, "run", run)
        page.run()
