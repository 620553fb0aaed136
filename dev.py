"""The project's commands, each with its own set-up: ``python3 dev.py test``; ``--help`` lists them.

It creates a virtual environment in the checkout, installs the package with what the command needs,
and runs it. It uses only the standard library. The README shows the equivalent pip commands.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
COMMANDS = {
    "demo": (["-e", ".[demo]"], [["sa-pgnotify", "demo"]]),
    "demo-cluster": (["-e", ".[demo-cluster]"], [["python", "examples/cluster/demo.py"]]),
    "test": (["--group", "test", "-e", "."], [["python", "-m", "pytest"]]),
    "lint": (
        ["--group", "lint", "--group", "docs", "--group", "test", "-e", "."],
        [
            ["ruff", "check"],
            ["ruff", "format", "--check"],
            ["mypy"],
            ["mkdocs", "build", "--strict", "--quiet"],
            ["pyright", "--pythonpath", "{python}"],
        ],
    ),
    "docs": (["--group", "docs", "-e", "."], [["mkdocs", "build", "--strict"]]),
    "serve-docs": (["--group", "docs", "-e", "."], [["mkdocs", "serve", "--livereload"]]),
    "bench": (["--group", "bench", "-e", "."], [["python", "benchmarks/run.py"]]),
    "bench-compare": (["--group", "bench", "-e", "."], [["python", "benchmarks/compare.py"]]),
    "release": (["build>=1.2", "twine>=6.1"], [["python", "release.py"]]),
    "matrix": (["--group", "dev", "-e", "."], [["nox"]]),
}
OLDEST = ["sqlalchemy==2.0.44", "alembic==1.13.0"]


def environment(name: str, requirements: list[str]) -> Path:
    """Return the scripts folder of a virtual environment in the checkout with ``requirements``.

    It is installed again only when they change.
    """
    folder = ROOT / name
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    wanted = hashlib.sha256(
        "\0".join([sys.version, *requirements, (ROOT / "pyproject.toml").read_text()]).encode()
    ).hexdigest()
    stamp = folder / f".installed-{wanted[:16]}"
    if not stamp.exists():
        if not scripts.exists():
            print(f"making {folder.name} with Python {sys.version.split()[0]}", flush=True)
            venv.create(folder, with_pip=True)
        pip = [
            str(scripts / "python"),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
        ]
        print("installing", *requirements, flush=True)
        # pip 25.1 brought dependency groups
        subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True, cwd=ROOT)
        subprocess.run([*pip, *requirements], check=True, cwd=ROOT)
        stamp.touch()
    return scripts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument(
        "--oldest",
        action="store_true",
        help="use a separate environment with SQLAlchemy 2.0 and Alembic 1.13",
    )
    options, rest = parser.parse_known_args()
    if sys.version_info < (3, 11):  # noqa: UP036 (any python3 may run this)
        print(
            f"sa_pgnotify needs Python 3.11 or newer, but this is {sys.version.split()[0]}: run it with python3.11",
            file=sys.stderr,
        )
        return 2
    requirements, runs = COMMANDS[options.command]
    name = ".venv"
    if options.oldest:
        name, requirements = ".venv-oldest", [*requirements, *OLDEST]
    scripts = environment(name, requirements)
    os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")  # the theme prints it at each build
    for program, *arguments in runs:
        filled = [argument.format(python=scripts / "python") for argument in arguments]
        given = rest if program == runs[-1][0] else []
        status = subprocess.run(
            [str(scripts / program), *filled, *given], cwd=ROOT, check=False
        ).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
