"""Evaluating a statement as somebody whom PostgreSQL's row-level security tells apart."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

__all__ = ["RowSecurity"]


@dataclass(frozen=True)
class RowSecurity:
    """Row-level security decides what each user sees.

    ::

        CREATE POLICY own ON orders FOR SELECT TO web_user
            USING (owner_id = current_setting('app.user_id')::int);
        GRANT SELECT ON orders TO web_user;
        GRANT web_user TO the_role_of_the_program;

    Statements run with the role's rights, in a transaction in which the setting names the user.

    :param role: a role that owns none of the tables, has no ``BYPASSRLS``, and may SELECT from the
        tables. The role of the program must be a member of it.
    :param setting: the name of the setting that the policies read by ``current_setting()``.
    """

    role: str
    setting: str

    def apply(self, connection: Connection, as_: str) -> None:
        """Become a user, until the end of the transaction or the next call."""
        connection.execute(_BECOME, {"role": self.role, "setting": self.setting, "as_": as_})

    def leave(self, connection: Connection) -> None:
        """Forget the user; the role stays."""
        connection.execute(_FORGET, {"setting": self.setting})


_FORGET = text("SELECT pg_catalog.set_config(:setting, '', true)")
_BECOME = text(
    "SELECT pg_catalog.set_config('role', :role, true), pg_catalog.set_config(:setting, :as_, true)"
)
