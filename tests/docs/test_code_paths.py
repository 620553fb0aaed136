"""The walks through the code in docs/code-paths.md."""

import re

import pytest
from programs import ROOT

PAGE = (ROOT / "docs" / "code-paths.md").read_text()
STEPS = re.findall(r"`([\w/]+\.py)`:\s+`([\w.]+)`", PAGE)


@pytest.mark.parametrize(("file", "name"), STEPS)
def test_each_step_is_in_the_code(file, name):
    """A step that was renamed or moved is noticed, so that the walks can be followed."""
    folder = ROOT if file.startswith("alembic_ops") else ROOT / "sa_pgnotify"
    text = (folder / file).read_text()
    for part in name.split("."):
        assert re.search(rf"(def|class) {part}\b", text), name


def test_all_steps_are_read():
    """The pattern finds the steps of the page, so that the test above does not pass by itself."""
    assert len(STEPS) > 35
