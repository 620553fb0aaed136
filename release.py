"""Build a release and check it: ``python3 dev.py release --dry-run``.

It refuses a version without its part of the changelog, and a checkout that differs from its commit.
It builds the source distribution and the wheel, checks their metadata, and installs the wheel in an
environment of its own, as a user would. Without ``--dry-run`` it then tags the commit and uploads
both files. Run the tests first: ``make lint test matrix``.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKAGE = "sa_pgnotify"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="neither tag nor upload")
    dry = parser.parse_args().dry_run
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    problems = [*_changelog_problems(version), *_git_problems(version)]
    for problem in problems:
        print(f"{'would be refused' if dry else 'refused'}: {problem}", file=sys.stderr)
    if problems and not dry:
        return 2
    with tempfile.TemporaryDirectory() as folder:
        files = _build(Path(folder))
        _try_out(Path(folder), next(file for file in files if file.suffix == ".whl"), version)
        if dry:
            print(f"not done: git tag v{version}; twine upload {' '.join(f.name for f in files)}")
            return 1 if problems else 0
        _run("git", "tag", "--annotate", f"v{version}", "--message", f"{PACKAGE} {version}")
        _run(sys.executable, "-m", "twine", "upload", *files)
    print(f"released {version}: now push the tag v{version}")
    return 0


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def _changelog_problems(version: str) -> list[str]:
    """Return why the changelog does not fit a version."""
    found = re.search(r"^## (\S+)(.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    if found is None or found[1] != version:
        return [f"CHANGELOG.md does not begin with ## {version}"]
    date = re.fullmatch(r" \(\d{4}-\d\d-\d\d\)", found[2])
    return [] if date else [f"CHANGELOG.md has no date: write ## {version} (YYYY-MM-DD)"]


def _git_problems(version: str) -> list[str]:
    """Return why this checkout cannot be tagged."""
    changed = _run("git", "status", "--porcelain").strip()
    tagged = _run("git", "tag", "--list", f"v{version}").strip()
    return [
        *(["the checkout has changes that are not committed"] if changed else []),
        *([f"there is a tag v{version} already: raise the version"] if tagged else []),
    ]


def _build(folder: Path) -> list[Path]:
    """Build the source distribution, and the wheel from it, and check both."""
    _run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    files = sorted(folder.glob(f"{PACKAGE}-*"))
    print(_run(sys.executable, "-m", "twine", "check", "--strict", *files), end="")
    return files


def _try_out(folder: Path, wheel: Path, version: str) -> None:
    """Install the wheel with the command line, and run it."""
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    _run(scripts / "python", "-m", "pip", "install", "--quiet", f"{wheel}[cli]")
    said = _run(scripts / "sa-pgnotify", "--version")
    if not said.startswith(f"{PACKAGE} {version},"):
        raise SystemExit(f"the installed command line says {said!r}")
    print(f"installed and run: {said}", end="")


if __name__ == "__main__":
    sys.exit(main())
