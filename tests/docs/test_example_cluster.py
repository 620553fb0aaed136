"""``make demo-cluster``: machines are killed, and in the end there is one invoice for each order."""

from __future__ import annotations

import subprocess
import sys

import pytest
from programs import EXAMPLES


@pytest.mark.thorough
@pytest.mark.timeout(240)
def test_one_invoice_for_each_order():
    """The demo ends with 0, and says that nothing differs."""
    command = [sys.executable, str(EXAMPLES / "cluster" / "demo.py"), "--seconds", "6"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 differences" in done.stdout
