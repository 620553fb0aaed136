"""How the texts of one column become values.

A value must equal what a SELECT through the ORM returns, which is made by two parties: the driver's
typecaster for the column's type OID, and then SQLAlchemy's result processor. So each text goes
through exactly those two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..drivers import TextReader
from ..errors import UndecodableValue

__all__ = ["ColumnDecoder", "Unread"]


class ColumnDecoder:
    """Makes values of the texts of a column.

    :param read: what the driver makes of a text; None if the text stays as it is.
    :param process: what SQLAlchemy makes of the driver's value, NULL included; None if it leaves
        the value as it is.
    :ivar column: the name of the column.
    """

    def __init__(
        self, table: str, column: str, read: TextReader | None, process: Callable[[Any], Any] | None
    ) -> None:
        self.column = column
        self._table = table
        self._read = read
        self._process = process

    def all(self, texts: list[str | None]) -> Sequence[Any]:
        """Return the values of all texts, decoded together, or one by one if that fails.

        :raises UndecodableValue: for the first text that is not in the type's form.
        """
        values: Any = texts
        try:
            if self._read is not None:
                values = (
                    self._read.all(values)
                    if None not in texts
                    else self._between_nulls(self._read, texts)
                )
            return values if self._process is None else list(map(self._process, values))
        except Exception:  # a TypeDecorator may raise anything
            return [self.one(text) for text in texts]

    @staticmethod
    def _between_nulls(read: TextReader, texts: list[str | None]) -> list[Any]:
        values = iter(read.all([text for text in texts if text is not None]))
        return [None if text is None else next(values) for text in texts]

    def each(self, texts: list[str | None]) -> list[Any]:
        """Return the values of all texts, with an :class:`Unread` in place of each text that is not
        in the type's form."""
        values: list[Any] = []
        for text in texts:
            try:
                values.append(self.value(text))
            except Exception:
                # a TypeDecorator may raise anything, and does again when the value is asked for
                values.append(Unread(self, text))
        return values

    def one(self, text: str | None, subject: str = "", attribute: str = "") -> Any:
        """Return the value of a text.

        :param subject: the entity that an error names; the table by default.
        :param attribute: the attribute that an error names; the column by default.
        :raises UndecodableValue: if the text is not in the type's form.
        """
        try:
            return self.value(text)
        except Exception as error:  # a TypeDecorator may raise anything
            said = None if text is None else str(text)
            raise UndecodableValue(
                subject or self._table, attribute or self.column, self.column, said, error
            ) from error

    def value(self, text: str | None) -> Any:
        """Return the value of a text.

        :raises Exception: whatever the driver or the type raises if the text is not in the type's
            form.
        """
        value = text if self._read is None or text is None else self._read.one(text)
        return value if self._process is None else self._process(value)


class Unread:
    """Stands for a value that cannot be decoded. Two are equal if their texts are."""

    __slots__ = ("decoder", "text")

    def __init__(self, decoder: ColumnDecoder, text: str | None) -> None:
        self.decoder = decoder
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unread) and self.text == other.text

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<undecodable {self.text!r}>"
