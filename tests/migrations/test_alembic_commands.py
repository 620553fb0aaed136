"""Alembic as a process: its command line, and programs that upgrade at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from revisions import marked

from sa_pgnotify.triggers.install_statement import INSTALL_LOCK

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sa_pgnotify import NotifyOnChange

class Base(DeclarativeBase):
    pass

class Order(NotifyOnChange, Base):
    __tablename__ = "{table}"
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
"""


def commands(
    folder: Path, url: sa.URL, *, imported: bool = True, table: str = "orders", configure: str = ""
) -> Any:
    """A project with models in a module; gives what starts ``alembic`` there, and what waits for
    its end and gives all its output."""
    folder.mkdir(exist_ok=True)

    def start(*arguments: str) -> subprocess.Popen[str]:
        command_line = [sys.executable, "-m", "alembic", *arguments]
        return subprocess.Popen(
            command_line, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def end(process: subprocess.Popen[str], code: int = 0) -> str:
        output = process.communicate(timeout=60)[0]
        assert process.returncode == code, output
        return output

    command.init(Config(str(folder / "alembic.ini")), str(folder / "alembic"))
    (folder / "models.py").write_text(MODELS.format(table=table))
    env, ini = folder / "alembic" / "env.py", folder / "alembic.ini"
    imports = "import alembic_ops\n" * imported + "from models import Base\n"
    text = env.read_text().replace(
        "target_metadata = None", f"{imports}target_metadata = Base.metadata"
    )
    env.write_text(
        text.replace(
            "target_metadata=target_metadata", f"target_metadata=target_metadata{configure}"
        )
    )
    given = url.render_as_string(hide_password=False).replace("%", "%%")
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", given))
    return SimpleNamespace(
        start=start, end=end, run=lambda *arguments, code=0: end(start(*arguments), code), env=env
    )


def test_command_line(engine, url, tmp_path):
    """What is found is logged as Alembic logs; a revision brings its own import, so that it runs
    whatever env.py imports."""
    alembic = commands(tmp_path, url)
    output = alembic.run("revision", "--autogenerate", "-m", "first")
    assert (
        "[alembic.autogenerate.compare.notify_triggers] Detected added notify triggers on table 'orders'"
        in output
    )
    alembic.env.write_text(alembic.env.read_text().replace("import alembic_ops\n", ""))
    alembic.run("upgrade", "head")
    assert marked(engine) == {"orders"}
    assert "DO $sa_pgnotify$" in alembic.run("downgrade", "head:base", "--sql")
    alembic.run("downgrade", "base")
    assert marked(engine) == set()


def test_without_import(engine, url, tmp_path):
    """A revision written by an env.py that does not import alembic_ops fails before it changes
    anything, and names the fix."""
    alembic = commands(tmp_path, url, imported=False)
    alembic.run("revision", "--autogenerate", "-m", "first")
    output = alembic.run("upgrade", "head", code=1)
    assert "NameError: name 'import_alembic_ops_in_env_py' is not defined" in output
    assert not sa.inspect(engine).has_table("orders")


@pytest.mark.thorough
def test_two_processes(engine, url, tmp_path):
    """Programs that upgrade at once, and share a database, both succeed: one installs after the
    other."""
    programs = {
        name: commands(
            tmp_path / name,
            url,
            table=name,
            configure=f", version_table='version_{name}', include_object=only_{name}",
        )
        for name in ("orders", "customers")
    }
    for name, alembic in programs.items():
        only = f"def only_{name}(o, name, type_, *_):\n    return type_ != 'table' or name == '{name}'\n\n\n"
        alembic.env.write_text(
            alembic.env.read_text().replace(
                "def run_migrations_offline", f"{only}def run_migrations_offline"
            )
        )
    for alembic, process in [
        (a, a.start("revision", "--autogenerate", "-m", "first")) for a in programs.values()
    ]:
        alembic.end(process)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as holder:
        holder.exec_driver_sql(f"SELECT pg_advisory_lock({INSTALL_LOCK})")
        started = [alembic.start("upgrade", "head") for alembic in programs.values()]
        while holder.exec_driver_sql(waiting).scalar() < 2:
            assert all(process.poll() is None for process in started), [
                process.communicate() for process in started
            ]
    for alembic, process in zip(programs.values(), started):
        alembic.end(process)
    assert marked(engine) == {"orders", "customers"}
