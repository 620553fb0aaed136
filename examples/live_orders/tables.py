"""The tables of the page and their row-level security policy. Run this file to create them."""

import os
from decimal import Decimal

from sqlalchemy import ForeignKey, Numeric, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from sa_pgnotify import NotifyOnChange, NotifySpec


class Base(NotifyOnChange, DeclarativeBase):
    __abstract__ = True
    __notify__ = NotifySpec(durable=True)


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey(Customer.id))
    total: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    status: Mapped[str]
    customer: Mapped[Customer] = relationship()


class Membership(Base):
    """The customers that each user is responsible for."""

    __tablename__ = "memberships"
    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    customer_id: Mapped[int] = mapped_column(ForeignKey(Customer.id), primary_key=True)


SECURITY = """
DO $$ BEGIN CREATE ROLE shop_user; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT shop_user TO CURRENT_USER;
GRANT SELECT ON orders, customers, memberships TO shop_user;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orders FOR SELECT TO shop_user USING (customer_id IN (
    SELECT customer_id FROM memberships WHERE user_id = current_setting('shop.user_id')::int
));
INSERT INTO customers (name) VALUES ('Ada Lovelace'), ('Grace Hopper'), ('Alan Turing');
INSERT INTO memberships VALUES (1, 1), (1, 2), (2, 2), (2, 3);
"""

if __name__ == "__main__":
    url = os.environ.get("DATABASE_URL", "postgresql+psycopg:///shop")
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        for statement in SECURITY.strip().split(";\n"):
            connection.execute(text(statement))
