"""The statements of template version 1 that write the message of one row: of a FOR EACH ROW trigger,
or of a statement that updated one row.

They are the expressions of the queries over PL/pgSQL's records in place of transition tables. A
query that composes a message has so many expressions to prepare that it costs more than writing the
row itself. Where a row of a transition table would be absent, PostgreSQL gives a record of NULLs of
the right types.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...marking.condition import NEW_ROW, OLD_ROW
from ...protocol.wire import MASK_BITS
from .v1_rows import RowSql, pieces

__all__ = ["OF_MARKED_TABLE", "EachRow"]

OF_MARKED_TABLE = """\
  IF pg_catalog.pg_partition_root(TG_RELID) IS NOT NULL AND TG_LEVEL = 'ROW' THEN
    -- A partition fires its copy of the trigger that the marked table has.
    SELECT n.nspname, c.relname INTO STRICT TG_TABLE_SCHEMA, TG_TABLE_NAME
      FROM pg_catalog.pg_partition_ancestors(TG_RELID) AS tree
      JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = tree.relid::oid AND t.tgname = TG_NAME AND t.tgparentid = 0::oid
      JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace;
  END IF;
"""
"""Names the marked table in TG_TABLE_SCHEMA and TG_TABLE_NAME, which are variables like others."""


_ROWS = ((NEW_ROW, "new", "sa_new_rows"), (OLD_ROW, "old", "sa_old_rows"))


@dataclass(frozen=True)
class EachRow:
    """The branches of the operations in the function of one table.

    :ivar is_collected: whether the rows are in transition tables, and not in OLD and NEW.
    """

    sql: RowSql
    is_collected: bool = False

    @property
    def declared(self) -> str:
        """The declarations of the variables."""
        rows = "".join(
            f"  {row} record;\n" if self._is_read else f"  {row} ALIAS FOR {record};\n"
            for row, record, _ in _ROWS
        )
        return rows + "".join(f"  {mask} bigint;\n" for mask in self._masks)

    @property
    def branches(self) -> dict[str, str]:
        """The statements of each operation, which set ``message`` and ``rows``, or return if the
        row is not published."""
        return {
            "insert": self._single("INSERT", NEW_ROW),
            "update": self.update,
            "delete": self._single("DELETE", OLD_ROW),
            "truncate": self.sql.write("TRUNCATE", []),
        }

    @property
    def _is_read(self) -> bool:
        """Whether the rows are read into variables: from transition tables, or because columns that
        are computed when they are read are NULL in OLD and NEW."""
        return self.is_collected or any(c.virtual for c in self.sql.columns)

    @property
    def _masks(self) -> list[str]:
        return [f"mask{i}" for i in range(-(-len(self.sql.compared) // MASK_BITS))]

    def _single(self, operation: str, row: str) -> str:
        carried = self.sql.carried
        fields = [c.text(c.of(row)) for c in carried] + self.sql.looked_up(row)
        return "\n".join([
            *self._read_single(row),
            *self._condition(),
            self.sql.write(operation, pieces(fields)),
        ])  # fmt: skip

    @property
    def update(self) -> str:
        """The statements of an UPDATE."""
        masks = self._masks
        bits = {
            c.name: (masks[i // MASK_BITS], 1 << i % MASK_BITS)
            for i, c in enumerate(self.sql.compared)
        }
        fields = [
            *masks,
            *(c.text(c.of(NEW_ROW)) for c in self.sql.carried),
            *self.sql.looked_up(NEW_ROW),
        ]
        tail = [
            "CASE WHEN {} & {} <> 0 THEN pg_catalog.concat(E'\\x1f', {}) END".format(
                *bits[c.name], c.text(c.of(OLD_ROW))
            )
            for c in self.sql.carried
        ]
        return "\n".join([
            *self._read_pair(),
            *(f"    {mask} := {sql};" for mask, sql in zip(masks, self.sql.masks(OLD_ROW, NEW_ROW))),
            f"    IF NOT ({' OR '.join(self.sql.watched_bits(bits))}) THEN RETURN NULL; END IF;",
            *self._condition(),
            self.sql.write("UPDATE", pieces(fields) + tail),
        ])  # fmt: skip

    def _read_single(self, row: str) -> list[str]:
        """Return the statements that read the row of an INSERT or DELETE into a variable, if that is
        needed, and return if there is none."""
        if not self._is_read:
            return []
        (_, record, table), (absent, *_) = _ROWS if row == NEW_ROW else _ROWS[::-1]
        conditional = bool(self.sql.condition)
        source = table if self.is_collected else f"(SELECT {record}.*)"
        columns = self.sql.columns if conditional else self.sql.carried
        select, source = f"    SELECT {self.sql.reading(columns)}", f"{source} AS {self.sql.alias}"
        return [
            *([f"{select} INTO {absent} FROM {source} WHERE false;"] if conditional else []),
            f"{select} INTO {row} FROM {source};",
            "    IF NOT FOUND THEN RETURN NULL; END IF;",
        ]

    def _read_pair(self) -> list[str]:
        """Return the statements that read the rows of an UPDATE into variables, if that is needed."""
        return [
            f"    SELECT {self.sql.read} INTO {row}"
            f" FROM {table if self.is_collected else f'(SELECT {record}.*)'} AS {self.sql.alias};"
            for row, record, table in _ROWS
            if self._is_read
        ]

    def _condition(self) -> list[str]:
        condition = self.sql.condition
        return [f"    IF ({condition}) IS NOT TRUE THEN RETURN NULL; END IF;"] if condition else []
