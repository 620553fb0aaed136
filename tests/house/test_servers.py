"""The tests' own servers: on a machine that several users share, and of each version that is
promised."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile

import pytest
import sqlalchemy as sa
from binaries import VERSIONS, VersionMissing, chosen, programs
from programs import ROOT, SUPPORT
from servers import Server, alone, data_folder

OTHER = "nobody"
AS_ANOTHER = """
import os
import sys
import psycopg2, sqlalchemy.dialects.postgresql.psycopg2  # while the user may still read what root has installed
from servers import Server, alone, data_folder
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
with alone():
    pass
with data_folder() as data, Server(data) as server, server.engine.connect() as connection:
    print(connection.exec_driver_sql("SELECT 'runs'").scalar())
"""


def test_a_second_user_runs_servers_beside_the_first():
    """What one user has left in the common temporary folders keeps nobody else from starting a
    server, or from waiting for a turn."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    other = pwd.getpwnam(OTHER)
    with data_folder() as data, Server(data), alone():
        done = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER, str(other.pw_uid), str(other.pw_gid)],
            env={
                **os.environ,
                "PYTHONPATH": f"{SUPPORT}:{ROOT}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": tempfile.gettempdir(),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stdout) == (0, "runs\n"), done.stderr


def test_a_file_of_another_user_is_not_opened(tmp_path, monkeypatch):
    """A link that somebody else has put in the common temporary folder is refused: root would write
    where it points to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"sa_pgnotify_servers_{os.geteuid()}.lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"), alone():
        pass
    assert not (tmp_path / "target").exists()


def test_a_version_that_is_not_there():
    """The error names the package to install."""
    with pytest.raises(VersionMissing, match="install the package postgresql-9"):
        programs("9")


def test_the_servers_have_the_chosen_version(tmp_path):
    """A server that a test starts, to crash it, is of the version that the run is for."""
    assert chosen() in VERSIONS
    said = subprocess.run(
        [programs(chosen()) / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith(f"postgres (PostgreSQL) {chosen()}.")


def test_a_standby_becomes_a_primary():
    """A standby follows, and can be written to once it is promoted, after a crash of its
    primary."""
    with data_folder() as data, Server(data) as primary:
        with primary.engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE t AS SELECT 1 AS n")
        with primary.standby(data.with_name("standby")) as standby:
            primary.down("immediate")
            standby.promote()
            with standby.engine.connect() as connection:
                connection.exec_driver_sql("INSERT INTO t VALUES (2)")
                assert connection.execute(
                    sa.text("SELECT n FROM t ORDER BY n")
                ).scalars().all() == [1, 2]
