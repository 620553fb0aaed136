"""The peers' environments: one below .peers/ for each pinned package, created with pip when it is
first needed.

Some peers need a newer Python than the suite's. It is looked for on PATH and in pyenv. If it is not
found, or pip fails, the peer is shown as failed with the reason.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from contestants import Contestant

FOLDER = Path(__file__).parent / ".peers"
EVERYWHERE = ("psycopg2-binary==2.9.*",)
PATIENCE = 300.0


class Failed(Exception):
    """A contestant could not do what it was asked; the message is one line."""


def python_of(contestant: Contestant) -> str:
    """Return the interpreter that runs a contestant's script, with its packages installed."""
    if not contestant.package:
        return sys.executable
    requirements = [contestant.package, *contestant.needs, *EVERYWHERE]
    base = _interpreter(contestant.python)
    folder = FOLDER / contestant.package.replace("==", "-")
    python = folder / "bin" / "python"
    wanted = hashlib.sha256("\0".join([base, *requirements]).encode()).hexdigest()[:16]
    if not (folder / wanted).exists():
        print(f"installing {contestant.package}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _run([base, "-m", "venv", str(folder)])
        _run(
            [
                str(python),
                "-m",
                "pip",
                "--disable-pip-version-check",
                "install",
                "--quiet",
                *requirements,
            ]
        )
        (folder / wanted).touch()
    return str(python)


def versions(python: str) -> list[str]:
    """Return what is installed in an environment."""
    found = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [line for line in found.stdout.splitlines() if "==" in line]


def _interpreter(version: str) -> str:
    if not version or version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(map(str, _pyenv().glob(f"{version}.*/bin/python")), reverse=True),
    ]
    for candidate in candidates:
        # a shim may be empty
        if (
            candidate
            and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode
            == 0
        ):
            return candidate
    raise Failed(f"it needs Python {version}, and there is none on PATH nor among pyenv's")


def _pyenv() -> Path:
    return Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"pip took over {PATIENCE:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip failed"]
        raise Failed(next((line for line in lines if line.startswith("ERROR")), lines[-1]))
