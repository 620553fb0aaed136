"""Result files: one for each major version of PostgreSQL, which is kept in git, and its predecessor,
which is not."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from sheet import Sheet

FOLDER = Path(__file__).parent / "results"


def major(found: dict[str, Any]) -> str:
    return re.split(r"\D", found["machine"]["PostgreSQL"])[0]


def save(found: dict[str, Any], *, whole: bool) -> Path:
    """Return the file's name; a partial run does not replace a complete one."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"postgresql-{major(found)}{'' if whole else '-partial'}.json"
    if path.exists():
        path.replace(path.with_suffix(".previous.json"))
    text = json.dumps(_rounded(found), indent=1, ensure_ascii=False)
    # samples on one line
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda numbers: re.sub(r"\s+", " ", numbers.group()), text)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def sheets(found: dict[str, Any]) -> dict[str, Sheet]:
    return {name: Sheet.of_json(sheet) for name, sheet in found["tasks"].items()}


def newest() -> Path:
    files = [path for path in FOLDER.glob("postgresql-*.json") if ".previous" not in path.name]
    if not files:
        raise SystemExit("there is no result yet: call make bench")
    return max(files, key=lambda path: path.stat().st_mtime)


def before(path: Path) -> dict[str, Any]:
    """Return the previous result of ``path``: from this machine, or else from git."""
    previous = path.with_suffix(".previous.json")
    if previous.exists():
        return load(previous)
    shown = subprocess.run(
        ["git", "show", f"HEAD:./{path.name}"],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if shown.returncode:
        raise SystemExit(f"there is nothing to compare {path.name} with: give two files")
    committed: dict[str, Any] = json.loads(shown.stdout)
    return committed
