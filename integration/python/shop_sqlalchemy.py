"""A shop on SQLAlchemy, with psycopg2 and with asyncpg, its migrations by Alembic."""
import asyncio
import os
import pathlib
import ssl
import tempfile
import threading

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session, declarative_base, relationship, selectinload

from check import check

DRIVER = "SQLAlchemy"
engine = sa.create_engine("postgresql+psycopg2://", pool_size=10)
Base = declarative_base()


class Customer(Base):
    __tablename__ = "sqlalchemy_customers"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.Text, nullable=False)
    orders = relationship("Order", back_populates="customer")


class Order(Base):
    __tablename__ = "sqlalchemy_orders"
    id = sa.Column(sa.Integer, primary_key=True)
    customer_id = sa.Column(sa.ForeignKey(Customer.id), nullable=False)
    amount = sa.Column(sa.Numeric, nullable=False)
    customer = relationship(Customer, back_populates="orders")


ENV = """
from alembic import context
import sqlalchemy
with sqlalchemy.create_engine("postgresql+psycopg2://").connect() as connection:
    context.configure(connection=connection, version_table="sqlalchemy_version")
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = {this!r}, {before!r}
def upgrade():
    {up}
def downgrade():
    {down}
"""


@check("Alembic", "migrations (Pooling49)")
def _():
    with tempfile.TemporaryDirectory() as folder:
        versions = pathlib.Path(folder, "versions")
        versions.mkdir()
        pathlib.Path(folder, "env.py").write_text(ENV)
        (versions / "1.py").write_text(REVISION.format(this="1", before=None, down="op.drop_table('sqlalchemy_customers')",
            up="op.create_table('sqlalchemy_customers', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text, nullable=False))"))
        (versions / "2.py").write_text(REVISION.format(this="2", before="1", down="op.drop_table('sqlalchemy_orders')",
            up="op.create_table('sqlalchemy_orders', sa.Column('id', sa.Integer, primary_key=True),"
               "sa.Column('customer_id', sa.Integer, sa.ForeignKey('sqlalchemy_customers.id'), nullable=False), sa.Column('amount', sa.Numeric, nullable=False))"))
        (versions / "3.py").write_text(REVISION.format(this="3", before="2", down="op.drop_index('sqlalchemy_i')",
            up="with op.get_context().autocommit_block():\n        op.create_index('sqlalchemy_i', 'sqlalchemy_orders', ['customer_id'], postgresql_concurrently=True)"))
        config = Config()
        config.set_main_option("script_location", folder)
        command.upgrade(config, "head")
        command.downgrade(config, "1")
        command.upgrade(config, "head")
    assert set(sa.inspect(engine).get_table_names()) >= {"sqlalchemy_customers", "sqlalchemy_orders", "sqlalchemy_version"}


@check(DRIVER, "sessions of threads")
def _():
    failed = []

    def work(i):
        try:
            for n in range(10):
                with Session(engine) as session:
                    session.add(Customer(name=f"customer {i}/{n}", orders=[Order(amount=1), Order(amount=n)]))
                    session.commit()
        except Exception as err:
            failed.append(err)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed
    with Session(engine) as session:
        rows = session.scalars(sa.select(Customer).options(selectinload(Customer.orders))).all()
        assert len(rows) == 100 and all(len(c.orders) == 2 for c in rows)


@check(DRIVER, "transactions")
def _():
    with Session(engine) as session:
        session.add(Customer(name="kept"))
        try:
            with session.begin_nested():
                session.execute(sa.insert(Order).values(customer_id=-1, amount=1))
        except sa.exc.IntegrityError:
            pass
        session.commit()
        assert session.scalar(sa.select(sa.func.count()).where(Customer.name == "kept")) == 1
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(sa.text("vacuum sqlalchemy_customers"))


@check(DRIVER, "streamed results")
def _():
    with engine.connect().execution_options(stream_results=True, max_row_buffer=50) as conn:
        assert sum(r[0] for r in conn.execute(sa.text("select i from generate_series(1, 2000) i"))) == 2001000


@check(DRIVER + " with asyncpg", "queries")
def _():
    tls = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    where = sa.engine.URL.create("postgresql+asyncpg", os.environ["PGUSER"], os.environ["PGPASSWORD"], os.environ["PGHOST"],
                                 int(os.environ["PGPORT"]), os.environ["PGDATABASE"])

    async def clients():
        engine = create_async_engine(where, connect_args={"ssl": tls}, pool_size=5)

        async def work(i):
            for n in range(10):
                async with engine.begin() as conn:
                    assert (await conn.execute(sa.text("select :i, :n"), {"i": str(i), "n": str(n)})).one() == (str(i), str(n))
        await asyncio.gather(*(work(i) for i in range(10)))
        await engine.dispose()
    asyncio.run(asyncio.wait_for(clients(), 60))


with engine.begin() as conn:
    conn.execute(sa.text("drop table sqlalchemy_orders, sqlalchemy_customers, sqlalchemy_version"))
engine.dispose()
