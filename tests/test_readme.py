"""The README's command ``make demo`` shows what it says. Its blocks are run by test_docs.py, its revision by test_examples_migrations.py."""

import importlib.util
import io
from pathlib import Path

from kinds import address
from rich.console import Console


def test_demo_tells_everything(url, monkeypatch):
    """The demo shows every kind of event, values and changed names included, and a cut connection as a Gap."""
    path = Path(__file__).parent.parent / "examples" / "demo.py"
    spec = importlib.util.spec_from_file_location("demo", path)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    screen = io.StringIO()
    demo.tour(address(url), Console(file=screen, width=200))
    shown = screen.getvalue()
    for expected in (
        "Inserted Order (1,)  new={'id': 1, 'status': 'new', 'total': 40}",
        "Updated  Order (2,)  changed status: 'new' -> 'paid'",
        "Deleted  Order (1,)  old={'id': 1, 'status': 'new', 'total': 41}",
        "Truncated Order",
        "Gap  reconnected",
        "Inserted Order (3,)  new={'id': 3, 'status': 'after the cut', 'total': 7}",
    ):
        assert expected in shown, shown
    assert shown.count("event:") == 12
