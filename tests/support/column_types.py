"""A type of columns whose stored value is not what a SELECT gives."""

import sqlalchemy as sa


class Reversed(sa.types.TypeDecorator):
    """As pgcrypto's types: what is stored is not what is read."""

    impl = sa.Text
    cache_ok = True

    def bind_expression(self, bindparam):
        return sa.func.reverse(sa.type_coerce(bindparam, sa.Text))

    def column_expression(self, column):
        return sa.func.reverse(column, type_=sa.Text)
