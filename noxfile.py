"""The matrix: Python 3.11 to 3.13 with SQLAlchemy 2.0 and 2.1, Alembic 1.13 to 1.20 with both, and
PostgreSQL 15 to 18."""

import nox

nox.options.sessions = ["tests", "migrations", "postgres"]
nox.options.default_venv_backend = "venv"


@nox.session(python=["3.11", "3.12", "3.13"])
@nox.parametrize("sqlalchemy", ["2.0", "2.1"])
def tests(session: nox.Session, sqlalchemy: str) -> None:
    """Run all tests for all kinds of listener; arguments after ``--`` go to pytest."""
    session.install("--upgrade", "pip>=25.1")
    session.install("--group", "test", "-e", ".", f"sqlalchemy=={sqlalchemy}.*")
    session.run("python", "-m", "pytest", "--thorough", *session.posargs)


@nox.session(python="3.11")
@nox.parametrize("sqlalchemy", ["2.0", "2.1"])
@nox.parametrize("alembic", [f"1.{minor}" for minor in range(13, 21)])
def migrations(session: nox.Session, alembic: str, sqlalchemy: str) -> None:
    """Run the tests of migrations with each minor version of Alembic."""
    session.install("--upgrade", "pip>=25.1")
    session.install(
        "--group", "test", "-e", ".", f"sqlalchemy=={sqlalchemy}.*", f"alembic=={alembic}.*"
    )
    session.run(
        "python", "-m", "pytest", "--thorough", "-k", "alembic or migrations", *session.posargs
    )


@nox.session(python="3.11")
@nox.parametrize("version", ["15", "16", "17", "18"])
def postgres(session: nox.Session, version: str) -> None:
    """Run all tests on a server of each major version of PostgreSQL, which is started for them."""
    session.install("--upgrade", "pip>=25.1")
    session.install("--group", "test", "-e", ".")
    session.run("python", "-m", "pytest", "--postgres", version, *session.posargs)
