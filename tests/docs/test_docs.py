"""Every block of code in the documentation runs, or says why it does not."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from pages import ROOT, Page, blocks, run_elsewhere
from sqlalchemy.exc import ProgrammingError

import sa_pgnotify

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
HERE = [page for page in PAGES if not run_elsewhere(page)]
NOT_RUN = 28
"""How many blocks say why they are not run."""


@pytest.mark.sample(1)
@pytest.mark.parametrize("page", HERE, ids=[page.stem for page in HERE])
def test_page(page, url, engine, tmp_path, monkeypatch):
    """The blocks of the page run one after the other, and print what it says."""
    Page(page, url, engine, tmp_path, monkeypatch).run()


def _fenced(**blocks: str) -> str:
    return "".join(f"```{language}\n{code}\n```\n\n" for language, code in blocks.items())


LIES = {
    "prints something else": (_fenced(python="print(1)", text="2"), AssertionError),
    "prints more": (_fenced(python="print(1, 2, sep='\\n')\nprint(3)", text="1"), AssertionError),
    "raises": (_fenced(python="1 / 0"), ZeroDivisionError),
    "raises in the background": (
        "<!-- in the background -->\n" + _fenced(python="1 / 0"),
        ZeroDivisionError,
    ),
    "hides an error": ("<!-- hidden\nassert False\n-->\n", AssertionError),
    "has bad SQL": (_fenced(sql="SELEC 1;"), ProgrammingError),
    "cannot be run": (_fenced(ini="a = 1"), AssertionError),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_page_that_lies_fails(lie, url, engine, tmp_path, monkeypatch):
    """The runner of the pages reports each kind of mistake in a page."""
    text, error = LIES[lie]
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(error):
        Page(tmp_path / "page.md", url, engine, tmp_path, monkeypatch).run()


def test_a_page_with_commands(url, engine, tmp_path, monkeypatch):
    """Files that a page shows are written, commands run where they are, and what these print is
    compared."""
    file = "# shown.py\nimport os\nprint(os.environ['DATABASE_URL'].partition(':')[0])"
    text = _fenced(python=file) + _fenced(
        sh="python shown.py  # says which", text="postgresql+psycopg2"
    )
    (tmp_path / "page.md").write_text(text)
    Page(tmp_path / "page.md", url, engine, tmp_path, monkeypatch).run()


def test_blocks_that_do_not_run():
    """Each of them gives a reason, and there are no more than are known."""
    reasons = [
        f"{page.name}:{block.line}: {block.reason}"
        for page in HERE
        for block in blocks(page)
        if block.reason is not None
    ]
    assert all(reason.rpartition(": ")[2] for reason in reasons)
    assert len(reasons) == NOT_RUN, "\n".join(reasons)


def test_pages_that_run_elsewhere():
    """The test that a page names is there and reads it."""
    for page in PAGES:
        test = run_elsewhere(page)
        assert test is None or page.name in (ROOT / test).read_text()


def test_links_lead_somewhere():
    """The pages are read in the checkout too: what they link to, or show, is there."""
    dead = [
        f"{page.name}: {link}"
        for page in [*PAGES, *(ROOT / "docs" / "reference").glob("*.md")]
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert dead == []


def test_the_reference_has_everything():
    """Each public name is in the reference, and no other."""
    shown = [
        name
        for page in (ROOT / "docs" / "reference").glob("*.md")
        for name in re.findall(r"^::: sa_pgnotify\.(\w+)$", page.read_text(), re.MULTILINE)
    ]
    # Event is the union of what the page of events shows
    assert sorted([*shown, "Event"]) == sorted(sa_pgnotify.__all__)


def test_programs_of_the_readme_are_typed(tmp_path):
    """The two programs that the README shows pass a strict type checker as they stand, each for
    itself."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    shown = [
        block
        for block in blocks(ROOT / "README.md")
        if block.language == "python" and block.mark == "in the background"
    ]
    assert len(shown) == 2
    programs = [f"program{number}.py" for number in range(len(shown))]
    for program, block in zip(programs, shown):
        (tmp_path / program).write_text(block.code)
    cache = ["--cache-dir", str(ROOT / ".mypy_cache")]  # which knows SQLAlchemy from the last run
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *cache, *programs],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_text_for_the_package_index():
    """On a package index nothing is at the paths that the README links to: its text there has no
    such link and no picture, and all else."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    readme = (ROOT / "README.md").read_text()
    text = hook.index_text(readme)
    assert [link for link in re.findall(r"\]\(([^)]*)\)", text) if "://" not in link] == []
    assert "![" not in text
    assert "<!--" not in text
    assert re.findall("^#.*", text, re.MULTILINE) == re.findall("^#.*", readme, re.MULTILINE)
    assert "tutorial (`docs/tutorial.md`)" in text
    assert (
        hook.index_text("[a](b.md#c), [d](#e), [f](https://g), ![h](i.svg)\n")
        == "a (`b.md`), d, [f](https://g), !h (`i.svg`)\n"
    )
    code = re.compile(r"^```python\n.*?^```$", re.DOTALL | re.MULTILINE)
    assert code.findall(text) == code.findall(readme)
