"""A worker that does jobs as soon as they are inserted. Run as many as you like.

It needs ``asyncpg`` or ``psycopg``, and creates its tables. Run it, and then the statements in psql
on the same database::

    python examples/asyncio_worker.py postgresql+asyncpg:///shop

    INSERT INTO accounts VALUES (1, 0);
    INSERT INTO jobs (account_id, amount) SELECT 1, 10 FROM generate_series(1, 100);
    SELECT balance FROM accounts;                        -- 1000, with any number of workers, however often they were cut off

An event only says that there may be something to do. The row shows whether the job is still open,
and its lock shows which worker has it. The job's effect is committed together with its end, so it
is done once, however many events arrive. The worker reads which jobs are open when it starts, at
each Gap, and once a minute for jobs that failed. SIGTERM and Ctrl-C end it when it has finished the
current job.
"""

import asyncio
import signal
import sys
from collections import deque

from sqlalchemy import ForeignKey, false, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sa_pgnotify import AsyncListener, Gap, Inserted, NotifyOnChange, NotifySpec


class Base(DeclarativeBase): ...


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int]


class Job(NotifyOnChange, Base):
    __tablename__ = "jobs"
    __notify__ = NotifySpec(operations=("insert",))
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    amount: Mapped[int]
    done: Mapped[bool] = mapped_column(server_default=false())


async def do(number: int, session: AsyncSession) -> None:
    """Do a job, unless it is done or another worker has it."""
    job = await session.scalar(
        select(Job).where(Job.id == number, ~Job.done).with_for_update(skip_locked=True)
    )
    if job is not None:
        print(f"job {number} begun")
        await session.execute(
            update(Account)
            .where(Account.id == job.account_id)
            .values(balance=Account.balance + job.amount)
        )
        job.done = True
        await session.commit()
        print(f"job {number} done")


async def main(url: str = "postgresql+asyncpg:///shop") -> None:
    # the pool's connections may be lost together with the listener's
    engine = create_async_engine(url, pool_pre_ping=True)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    loop, stopping, listener = (
        asyncio.get_running_loop(),
        asyncio.Event(),
        AsyncListener(engine, Job),
    )
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(
            signum, lambda: (print("stopping"), stopping.set(), listener.stop())
        )
    todo: deque[int] = deque()
    look = loop.time()  # when to read next which jobs are open
    async with listener:
        print("listening")
        while not stopping.is_set():
            try:
                async with AsyncSession(engine) as session:
                    if todo:
                        await do(todo.popleft(), session)
                    elif loop.time() >= look:
                        look = loop.time() + 60
                        todo.extend(
                            await session.scalars(select(Job.id).where(~Job.done).order_by(Job.id))
                        )
                    else:
                        match await listener.get(timeout=look - loop.time()):
                            case Inserted(_, (number,)):
                                todo.append(number)
                            case Gap():
                                look = loop.time()
            except (DBAPIError, OSError) as error:
                print(f"failed, to be tried again: {error}")
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
