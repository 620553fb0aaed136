"""Who sees which rows of a hub, and what one user cannot do to others."""

from __future__ import annotations

import pytest
from hub_site import Site, follow
from hub_tables import GRANTED, OWN, add, models, secure
from sqlalchemy import exists, select, text
from statements import run
from waiting import wait_until

from sa_pgnotify import AsyncLiveQuery
from sa_pgnotify.live.async_feed import async_feed_of
from sa_pgnotify.web import RowSecurity


@pytest.fixture(name="Base")
def _base(engine):
    base = models()
    base.metadata.create_all(engine)
    return base


@pytest.fixture
def sited(url, Base):
    """Return a function that starts a site of the notes, which is stopped at the end."""
    sites = []

    def make(authorize, statement=None, **options):
        site = Site(
            url,
            select(Base.Note.id, Base.Note.body) if statement is None else statement,
            authorize=authorize,
            **options,
        )
        sites.append(site.__enter__())
        return site

    yield make
    for site in sites:
        site.__exit__()


def failed(stream) -> None:
    event = stream.next()
    assert (event.name, event.data) == ("failed", {})
    assert stream.next() is None


@pytest.mark.parametrize("as_", [None, ""])
def test_user_is_missing(sited, engine, stranger, as_):
    """A request without a user is refused."""
    site = sited(secure(engine, stranger))
    with site.browse(as_) as stream:
        assert stream.status == 400
        problem = f"Hub: as_={as_!r} does not name a user"
        assert stream.body() == f"{problem}. Pass the string that the policies compare with"


def test_user_is_missing_for_a_criterion(sited, Base):
    site = sited(lambda user: Base.Note.owner == user)
    with site.browse() as stream:
        assert stream.status == 400
        assert "as_ is missing" in stream.body()


USERS = ["a", "o'brien", "a\" OR '1'='1", "x'; RESET ROLE; --", "ü\u2028", "%s", ":user", "a\\"]


@pytest.mark.parametrize("how", ["row security", "criterion", "exists"])
def test_each_user_sees_own_rows(sited, engine, stranger, Base, how):
    """Each user is sent the user's own rows, whatever characters the name has, and no byte of other
    rows."""
    Note, Grant = Base.Note, Base.Grant
    for number, user in enumerate(USERS):
        run(engine, "INSERT INTO grants VALUES (:u, :u)", u=user)
        add(engine, user, number, body=f"secret {number}")
    site = sited(
        {
            "row security": lambda: secure(engine, stranger),
            "criterion": lambda: lambda user: Note.owner == user,
            "exists": lambda: (
                lambda user: exists().where(Grant.reader == user, Grant.owner == Note.owner)
            ),
        }[how]()
    )
    streams = {user: site.browse(user) for user in USERS}
    for number, (user, stream) in enumerate(streams.items()):
        assert stream.rows() == {f"[{number}]": {"id": number, "body": f"secret {number}"}}
    for number in range(len(USERS)):
        run(engine, f"UPDATE notes SET body = 'changed {number}' WHERE id = {number}")
        run(engine, f"INSERT INTO notes VALUES ({number + 100}, 'nobody', '')")
    for number, stream in enumerate(streams.values()):
        event = stream.next()
        assert event.data == {
            "put": [[f"[{number}]", {"id": number, "body": f"changed {number}"}]],
            "gone": [],
        }
    run(engine, "DELETE FROM notes")
    for number, stream in enumerate(streams.values()):
        event = stream.next()
        assert event.data == {"put": [], "gone": [f"[{number}]"]}
        stream.close()


def test_last_event_id_of_another_user(sited, engine, stranger):
    """A user who sends another user's last id is sent all of the own rows, and nothing of
    others."""
    add(engine, "a", 1)
    add(engine, "b", 2)
    site = sited(secure(engine, stranger))
    with site.browse("a") as one, site.browse("b") as other:
        last = one.next().id
        other.rows()
        run(engine, "DELETE FROM notes WHERE owner = 'a'")
        assert one.next().data["gone"] == ["[1]"]
        with site.browse("b", last_id=last) as thief:
            assert set(thief.rows()) == {"[2]"}


def test_revocation(sited, engine, stranger):
    """A row that a user may no longer see leaves the page as if it were deleted, and comes back
    when the user may see it again."""
    add(engine, "a", 1, 2)
    run(engine, "INSERT INTO grants VALUES ('reader', 'a'), ('other', 'a')")
    site = sited(secure(engine, stranger, GRANTED))
    with site.browse("reader") as stream, site.browse("other") as other:
        stream.rows(), other.rows()
        run(engine, "DELETE FROM grants WHERE reader = 'reader'")
        assert stream.next().data == {"put": [], "gone": ["[1]", "[2]"]}
        run(engine, "UPDATE notes SET body = 'hidden'")
        assert {key for key, _ in other.next().data["put"]} == {"[1]", "[2]"}
        run(engine, "INSERT INTO grants VALUES ('reader', 'a')")
        assert dict(stream.next().data["put"])["[1]"]["body"] == "hidden"


@pytest.mark.parametrize("when", ["at first", "later"])
def test_policy_that_raises_for_one(sited, engine, stranger, when, caplog):
    """A policy that raises an error for one user ends that user's streams, and others continue."""
    add(engine, "a", 1)
    policy = f"{OWN} OR (current_setting('app.user') = 'bad' AND 1 / (id - 2) IS NULL)"
    site = sited(secure(engine, stranger, policy))
    if when == "at first":
        add(engine, "b", 2)
    with site.browse("a") as good, site.browse("bad") as bad, site.browse("bad") as again:
        good.rows()
        if when == "later":
            bad.rows(), again.rows()
            add(engine, "b", 2)
        failed(bad), failed(again)
        with site.browse("bad") as stream:
            failed(stream)
        assert "division by zero" in caplog.text
        add(engine, "a", 3)
        assert good.next().data["put"][0][0] == "[3]"
    wait_until(lambda: site.is_empty)


def test_parameter_that_raises_for_one(sited, engine, Base):
    """If PostgreSQL refuses the parameter of one browser, only this browser's stream ends, and the
    others are still evaluated together."""
    Note = Base.Note

    def statement(query):
        return select(Note.id).where(100 / (Note.id - int(query["n"])) < 1000)

    site = sited(None, statement)
    streams = [site.browse(n=str(number)) for number in range(100, 110)]
    for stream in streams:
        stream.rows()
    (channel, *_) = site.see(lambda: list(site.hub._channels.values()))
    add(engine, "a", 109)
    with streams.pop() as bad:
        failed(bad)
    add(engine, "a", 1)
    for stream in streams:
        rows = {}
        follow(stream, rows, lambda rows: set(rows) == {"[1]", "[109]"})
        stream.close()

    async def shapes():
        return list(async_feed_of(site.engine)._evaluator._shapes.values())

    with site.browse(n="200") as stream:
        stream.rows()
        (shape,) = site.call(shapes())
        assert shape._template is not None and not shape._has_failed


def test_value_that_cannot_be_read(sited, engine, Base):
    """A row with a value that the program's type cannot read ends only the streams that have this
    row."""
    from sqlalchemy import Text, TypeDecorator, type_coerce

    class Picky(TypeDecorator):
        impl = Text
        cache_ok = True

        def process_result_value(self, value, dialect):
            if value == "bad":
                raise LookupError(value)
            return value

    Note = Base.Note
    site = sited(
        lambda user: Note.owner == user,
        select(Note.id, type_coerce(Note.body, Picky).label("body")),
    )
    with site.browse("a") as one, site.browse("b") as other:
        one.rows(), other.rows()
        add(engine, "a", 1, body="bad")
        failed(one)
        add(engine, "b", 2)
        assert other.next().data["put"][0][0] == "[2]"


def test_policy_reads_an_unmarked_table(sited, engine, stranger, caplog):
    """A policy that reads an unmarked table or a view is refused by the name of the table, because
    its result may change without an event."""
    run(engine, "CREATE TABLE secrets (owner text)", f"GRANT SELECT ON secrets TO {stranger}")
    site = sited(secure(engine, stranger, "owner IN (SELECT s.owner FROM secrets AS s)"))
    with site.browse("a") as stream:
        failed(stream)
    assert "reads public.secrets, which is not marked" in caplog.text
    run(engine, "DROP POLICY seen ON notes", "CREATE VIEW hidden AS SELECT owner FROM secrets",
        f"GRANT SELECT ON hidden TO {stranger}",
        f"CREATE POLICY seen ON notes TO {stranger} USING (owner IN (SELECT h.owner FROM hidden AS h))")  # fmt: skip
    with site.browse("a") as stream:
        failed(stream)
    assert "reads public.hidden, which is not marked" in caplog.text


@pytest.mark.parametrize(
    "forgotten, said",
    [
        ("REVOKE SELECT ON notes FROM {role}", "permission denied for table notes"),
        ("ALTER TABLE notes DISABLE ROW LEVEL SECURITY", "notes has policies, and its row-level security is off"),
        ("DROP POLICY seen ON notes; ALTER TABLE notes DISABLE ROW LEVEL SECURITY", "no table of it has row-level security (notes)"),
        ("ALTER TABLE notes OWNER TO {role}", "the row-level security of notes is not applied to the role"),
        ("ALTER ROLE {role} BYPASSRLS", "the row-level security of notes is not applied to the role"),
        ("ALTER ROLE {role} SUPERUSER", "the row-level security of notes is not applied to the role"),
    ],
)  # fmt: skip
def test_forgotten_right(sited, engine, stranger, forgotten, said, caplog):
    """A missing privilege, or a role that sees all rows, is a failure with the reason in the log,
    and nothing is sent."""
    add(engine, "b", 1)
    security = secure(engine, stranger)
    run(engine, forgotten.format(role=stranger))
    site = sited(security)
    with site.browse("a") as stream:
        failed(stream)
    assert said in caplog.text


def test_role_that_the_program_may_not_take(url, engine, admin, stranger, Base, caplog):
    """If the program's role is not a member of the users' role, the log says so and nothing is
    sent."""
    security = secure(engine, stranger)
    run(admin, "CREATE ROLE program_of_hub LOGIN")
    try:
        run(engine, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO program_of_hub")
        program = url.set(username="program_of_hub")
        with Site(program, select(Base.Note), authorize=security) as site:
            with site.browse("a") as stream:
                failed(stream)
            assert "permission denied to set role" in caplog.text
            wait_until(lambda: site.is_empty)
    finally:
        run(engine, "DROP OWNED BY program_of_hub")
        run(admin, "DROP ROLE program_of_hub")


def test_role_that_is_revoked(url, engine, admin, stranger, Base):
    """If the program's membership in the users' role is revoked, the pages of these users end, and
    those of another hub on the same engine continue."""
    security = secure(engine, stranger)
    run(admin, "CREATE ROLE program_of_hub LOGIN", f"GRANT {stranger} TO program_of_hub")
    try:
        run(engine, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO program_of_hub",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO program_of_hub")  # fmt: skip
        statement = select(Base.Grant)
        program = url.set(username="program_of_hub")
        with Site(program, select(Base.Note), authorize=security) as site:
            hub = site.hub
            with site.browse("a") as stream:
                stream.rows()
                site.hub = type(hub)(site.engine)
                site._statement = statement
                with site.browse() as other:
                    other.rows()
                    run(admin, f"REVOKE {stranger} FROM program_of_hub")
                    add(engine, "a", 1)
                    failed(stream)
                    run(engine, "INSERT INTO grants VALUES ('a', 'a')")
                    assert other.next().name == "step"
                site.call(site.hub.stop())
                site.hub = hub
    finally:
        run(engine, "DROP OWNED BY program_of_hub")
        run(admin, "DROP ROLE program_of_hub")


@pytest.mark.parametrize("first", ["plain", "secured"])
def test_query_of_the_engines_own_role(sited, engine, stranger, Base, first):
    """A live query on the same engine as the pages of users sees what the engine's role sees."""
    add(engine, "a", 1)
    add(engine, "b", 2)
    site = sited(secure(engine, stranger))

    async def live():
        query = AsyncLiveQuery(site.engine, select(Base.Note.id))
        return await query.start()

    async def step(query):
        async for one in query.steps(timeout=10):
            return sorted(event.key for event in one)

    query = site.call(live()) if first == "plain" else None
    with site.browse("a") as stream:
        assert set(stream.rows()) == {"[1]"}
        query = query or site.call(live())
        assert site.call(step(query)) == [(1,), (2,)]
        for number in range(10, 20, 2):
            run(engine, f"INSERT INTO notes VALUES ({number}, 'b', ''), ({number + 1}, 'a', '')")
            assert site.call(step(query)) == [(number,), (number + 1,)]
            assert [key for key, _ in stream.next().data["put"]] == [f"[{number + 1}]"]
        site.call(query.stop())


def test_settings_of_two_hubs(engine, stranger, url, Base):
    """The policies of one hub cannot read the user of another hub from its setting."""
    security = secure(
        engine,
        stranger,
        "owner IN (current_setting('app.user', true), current_setting('app.tenant', true))",
    )
    add(engine, "a", 1)
    add(engine, "t", 2)
    engine_options = {"pool_size": 1, "max_overflow": 0}
    with Site(url, select(Base.Note.id), authorize=security, engine=engine_options) as site:
        with site.browse("a") as user:
            user.rows()
            hub = site.hub
            site.hub = type(hub)(site.engine, authorize=RowSecurity(stranger, "app.tenant"))
            with site.browse("t") as tenant:
                assert set(tenant.rows()) == {"[2]"}
                run(engine, "INSERT INTO notes VALUES (3, 'a', ''), (4, 't', '')")
                assert [key for key, _ in user.next().data["put"]] == ["[3]"]
                assert [key for key, _ in tenant.next().data["put"]] == ["[4]"]
            site.call(site.hub.stop())
            site.hub = hub


def test_pooled_connection_is_its_own_again(url, engine, stranger, Base):
    """After each evaluation, also one that failed, the connection in the pool has the program's
    role and no user."""
    policy = f"{OWN} OR (current_setting('app.user') = 'bad' AND 1 / (id - 2) IS NULL)"
    security = secure(engine, stranger, policy)
    engine_options = {"pool_size": 1, "max_overflow": 0}
    with Site(url, select(Base.Note.id), authorize=security, engine=engine_options) as site:

        async def who():
            async with site.engine.connect() as connection:
                asked = "SELECT current_user, session_user, current_setting('app.user', true), current_setting('transaction_read_only')"
                return tuple((await connection.execute(text(asked))).one())

        own = site.call(who())
        assert own[0] == own[1]
        with site.browse("a") as good, site.browse("bad") as bad:
            good.rows(), bad.rows()
            assert site.call(who())[:2] == own[:2]
            add(engine, "a", 2)
            failed(bad)
            good.next()
            role, session, user, read_only = site.call(who())
            assert (role, session, user or "", read_only) == (*own[:2], "", "off")


def test_criterion_that_restricts_nothing(sited, engine, Base):
    """A condition on a table that the statement does not read is refused: it would show all rows to
    everyone for whom the other table has a row."""
    site = sited(lambda user: Base.Note.owner == user, select(Base.Grant))
    with site.browse("a") as stream:
        assert stream.status == 400
        assert "names a table that the statement does not have in FROM" in stream.body()
