"""The package's inner order: imports point one way, and the core needs SQLAlchemy only."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "sa_pgnotify"
ROOT = {"arguments", "errors", "states", "sql", "caching", "lazy_exports"}
ARROWS = {
    "protocol": set(),
    "drivers": set(),
    "log": {"protocol"},
    "marking": {"log", "protocol"},
    "triggers": {"marking", "log", "protocol"},
    "capture": {"triggers", "marking", "log", "protocol"},
    "events": {"marking", "log", "drivers", "protocol"},
    "subscription": {"events", "triggers", "marking", "log", "drivers", "protocol"},
    "listening": {"subscription", "events", "marking", "log", "drivers", "protocol"},
    "live": {"listening", "subscription", "events", "marking", "log", "drivers", "protocol"},
    "web": {"live", "subscription", "listening", "events", "marking", "log", "drivers", "protocol"},
    "scanning": {"events", "marking", "log", "drivers", "protocol"},
    "consuming": {"scanning", "subscription", "events", "marking", "log", "drivers", "protocol"},
    "relay": {
        "consuming",
        "scanning",
        "subscription",
        "events",
        "marking",
        "log",
        "drivers",
        "protocol",
    },
    "streaming": {
        "relay",
        "consuming",
        "scanning",
        "subscription",
        "triggers",
        "events",
        "marking",
        "log",
        "drivers",
        "protocol",
    },
    "diagnosis": set(
        ALL := [
            "protocol",
            "drivers",
            "log",
            "marking",
            "triggers",
            "capture",
            "events",
            "subscription",
            "listening",
            "scanning",
            "consuming",
            "relay",
            "streaming",
            "live",
        ]
    ),
    "testing": set(ALL),
    "cli": {*ALL, "diagnosis"},
}
"""What each folder may import, beside the modules at the root, of which only the last may import another: ``__init__``."""

FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def for_types_only(tree: ast.Module) -> set[ast.AST]:
    """The nodes under ``if TYPE_CHECKING:``."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }


def imported(module: str, *, types: bool = True) -> set[str]:
    """The modules of the package that a module of it imports; without ``types``, those that it
    imports when it runs."""
    here = [] if module == "__init__" else module.split(".")
    if FILES[module].stem != "__init__":
        here = here[:-1]
    found = set()
    tree = ast.parse(FILES[module].read_text())
    skipped = set() if types else for_types_only(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and node not in skipped:
            above = here[: len(here) - node.level + 1]
            target = [*above, *(node.module or "").split(".")] if node.module else above
            found |= {
                ".".join(name)
                for alias in node.names
                if ".".join(name := [*target, alias.name]) in FILES
            } or {".".join(target)}
    return found


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module):
    """A module imports its own folder, what the arrows allow, and the root, so that each folder can be read with those below it."""
    folder = module.split(".")[0]
    others = {name.split(".")[0] for name in imported(module)} - {folder} - ROOT
    if folder == "__init__":
        return  # it gathers the public names
    assert folder in ROOT or folder in ARROWS, "give the new folder its arrows"
    assert others <= ARROWS.get(folder, set()), (
        f"{module} imports {others - ARROWS.get(folder, set())}"
    )


def test_no_circles():
    """No module imports itself by way of others, within a folder either.

    Imports for type hints alone are skipped: two classes of a folder may name each other in their
    signatures, as a message and its changes do, although only one of them makes the other.
    """
    graph = {
        module: imported(module, types=False) & FILES.keys() - {"__init__"}
        for module in FILES
        if module != "__init__"
    }
    while leaves := [
        module for module, others in graph.items() if not others & graph.keys() - {module}
    ]:
        for leaf in leaves:
            del graph[leaf]
    assert graph == {}


def test_folders_say_what_they_are_for():
    """Each folder has a docstring for a reader who opens it first."""
    for folder in ARROWS:
        text = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text()))
        assert text and text.count(".") >= 2, folder


DECIDES = (
    *(module for module in FILES if module.startswith(("protocol.", "events."))),
    *("capture.pgoutput", "capture.whole_transactions", "capture.composing"),
    *("log.snapshots", "log.reader", "log.witnesses", "log.losses"),
    *("consuming.chunks", "consuming.places", "consuming.claim"),
)


WAITING = {"select", "selectors", "socket", "threading", "asyncio", "time", "queue"}
CLOCKS = {"time.time", "time.monotonic"}
"""Parts of these modules that read the time and do not wait."""


@pytest.mark.parametrize("module", DECIDES)
def test_the_core_that_decides_does_not_wait(module):
    """What decides imports nothing that waits, so that every kind of loop can drive it."""
    assert waiting_imports(FILES[module].read_text()) == set()


def waiting_imports(code):
    """What ``code`` imports, in whichever form, of modules that wait."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names - CLOCKS if name.partition(".")[0] in WAITING}


@pytest.mark.parametrize(
    "code", ["import time", "import time as t", "from time import sleep", "import asyncio.queues"]
)
def test_each_form_of_an_import_is_seen(code):
    """The test above sees an import in any form, within a function as well, and takes a module of
    the package with the same name for none."""
    assert waiting_imports(f"def f():\n    {code}")
    assert waiting_imports("from .time import sleep\nfrom . import queue") == set()


PROGRAMS = {
    "sa_pgnotify": set(),
    "sa_pgnotify.cli": {"typer"},
    "sa_pgnotify.cli.health": {"typer"},
    "alembic_ops": {"alembic"},
}
"""What may be imported, and the extras' libraries that it may bring."""
EXTRAS = {"psycopg2", "psycopg", "asyncpg", "msgspec", "alembic", "rich", "typer", "nats"}


def brought(module: str) -> set[str]:
    """The modules that importing a module of the package brings, beside those of SQLAlchemy."""
    code = (
        "import sys; sys.modules['greenlet'] = None; import sqlalchemy.orm; before = {*sys.modules}; "
        f"import {module}; print(*{{*sys.modules}} - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {*done.stdout.split()}


@pytest.mark.parametrize("module", PROGRAMS)
def test_importing_needs_only_sqlalchemy(module):
    """Importing the package loads no driver and no Alembic, and needs no greenlet: they are extras."""
    assert brought(module) & EXTRAS == PROGRAMS[module]


def test_importing_is_cheap():
    """A program that imports the package pays for nothing that it does not use: neither for the
    package's own modules, nor for the dialect, nor for anything else that SQLAlchemy has not imported."""
    new = brought("sa_pgnotify")
    assert {name for name in new if not name.startswith("sa_pgnotify")} == set()
    assert {name.removeprefix("sa_pgnotify.") for name in new} == {
        *("sa_pgnotify", "lazy_exports", "triggers", "triggers.hooks")
    }


def test_the_command_line_imports_the_command_that_runs():
    """Help needs no command's module, and a readiness probe, which starts every few seconds, only
    its own and what it checks."""
    folders = {name.split(".")[1] for name in brought("sa_pgnotify.cli") if "pgnotify." in name}
    assert folders == {"cli", "drivers", "errors", "lazy_exports", "triggers"}
    probe = brought("sa_pgnotify.cli.health")
    others = {f"sa_pgnotify.{folder}" for folder in ("listening", "live", "relay", "capture")}
    assert probe & {*others, "sa_pgnotify.cli.watch", "sa_pgnotify.diagnosis.doctor"} == set()


@pytest.mark.parametrize("package", ["sa_pgnotify", "sa_pgnotify.diagnosis"])
def test_lazy_names_are_those_that_a_type_checker_sees(package):
    """Each public name is found where the type checker finds it, and ``dir()`` and ``import *``
    show all."""
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__).read_text())
    typed = {
        f".{node.module}": {alias.name for alias in node.names}
        for node in for_types_only(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert {f".{place}": {*names} for place, names in module._PLACES.items()} == typed
    assert set().union(*typed.values()) <= {*module.__all__}
    assert not set().union(*typed.values()) & {
        path.stem for path in Path(module.__file__).parent.iterdir()
    }
    assert {*module.__all__} <= {*dir(module)}
    for place, names in typed.items():
        for name in names:
            home = importlib.import_module(place, package)
            assert getattr(module, name) is getattr(home, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018
