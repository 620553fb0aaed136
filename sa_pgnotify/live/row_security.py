"""Evaluating a statement as a user that PostgreSQL's row-level security policies distinguish."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from ..errors import NotifyConfigError

__all__ = ["RowSecurity"]


@dataclass(frozen=True)
class RowSecurity:
    """Let PostgreSQL's row-level security decide which rows each user sees.

    ::

        ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON orders FOR SELECT TO web_user
            USING (owner_id = current_setting('app.user_id')::int);
        GRANT SELECT ON orders TO web_user;
        GRANT web_user TO the_role_of_the_program;

    Statements run with the privileges of the role, in a transaction in which the setting has the
    user as its value.

    :param role: the name of a role that may SELECT from the tables, owns none of them, is not a
        superuser and does not have ``BYPASSRLS``. The role of the program must be a member of it.
    :param setting: the name of the setting that the policies read with ``current_setting()``, with
        a prefix, such as ``app.user_id``.
    :raises NotifyConfigError: if the setting has no prefix, or one of the two is not a text.
    """

    role: str
    setting: str

    def __post_init__(self) -> None:
        for name in ("role", "setting"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise NotifyConfigError("RowSecurity", f"{name}={value!r} is not a name")
        if "." not in self.setting:
            raise NotifyConfigError(
                "RowSecurity",
                f"setting={self.setting!r} has no prefix, without which PostgreSQL takes no setting of a program",
                f"Write app.{self.setting} here and in the policies",
            )

    def apply(self, connection: Connection, as_: str) -> None:
        """Set the role and the user, until the end of the transaction or the next call.

        :param as_: the user, as the value of the setting.
        :raises DBAPIError: if the role of the program is not a member of the role.
        """
        connection.execute(_BECOME, {"role": self.role, "setting": self.setting, "as_": as_})

    def leave(self, connection: Connection) -> None:
        """Set the user to an empty string; the role stays until the end of the transaction."""
        connection.execute(_FORGET, {"setting": self.setting})


_FORGET = text("SELECT pg_catalog.set_config(:setting, '', true)")
_BECOME = text(
    "SELECT pg_catalog.set_config('role', :role, true), pg_catalog.set_config(:setting, :as_, true)"
)
