"""A shop on SQLAlchemy, over PyMySQL and over mysqlclient: its pool rolls back whenever a connection returns."""
import os
import threading

from sqlalchemy import Column, ForeignKey, Integer, String, create_engine, func, select
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session, declarative_base, relationship

from check import check

tls = {"ssl": {"ca": os.environ["MYSQL_CA"]}} if os.environ.get("MYSQL_CA") else {}

for dialect in ("pymysql", "mysqldb"):
    DRIVER = f"SQLAlchemy over {dialect}"
    Base = declarative_base()

    class Customer(Base):
        __tablename__ = f"sa_{dialect}_customers"
        id = Column(Integer, primary_key=True)
        name = Column(String(40))
        orders = relationship("Order", back_populates="customer", cascade="all, delete-orphan")

    class Order(Base):
        __tablename__ = f"sa_{dialect}_orders"
        id = Column(Integer, primary_key=True)
        customer_id = Column(Integer, ForeignKey(f"sa_{dialect}_customers.id"))
        amount = Column(Integer)
        customer = relationship("Customer", back_populates="orders")

    url = URL.create(f"mysql+{dialect}", os.environ["MYSQL_USER"], os.environ["MYSQL_PASSWORD"], os.environ["MYSQL_HOST"],
                     int(os.environ["MYSQL_PORT"]), os.environ["MYSQL_DATABASE"])
    engine = create_engine(url, connect_args=tls, pool_size=10)

    @check(DRIVER, "tables and rows")
    def _():
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
        failed = []

        def work(i):
            try:
                with Session(engine) as s, s.begin():
                    s.add(Customer(name=f"customer {i}", orders=[Order(amount=i), Order(amount=1)]))
            except Exception as err:
                failed.append(err)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if failed:
            raise failed[0]
        with Session(engine) as s:
            rows = s.execute(select(Customer.name, func.sum(Order.amount)).join(Order).group_by(Customer.name)).all()
            assert len(rows) == 20 and ("customer 19", 20) in [(n, int(t)) for n, t in rows], rows

    @check(DRIVER, "transactions")
    def _():
        with Session(engine) as s:
            s.add(Customer(name="gone"))
            s.flush()
            with s.begin_nested() as nested:
                s.add(Customer(name="gone too"))
                s.flush()
                nested.rollback()
            assert s.scalar(select(func.count()).select_from(Customer).where(Customer.name.like("gone%"))) == 1
            s.rollback()
            assert s.scalar(select(func.count()).select_from(Customer).where(Customer.name.like("gone%"))) == 0

    @check(DRIVER, "isolation")
    def _():
        with engine.connect().execution_options(isolation_level="SERIALIZABLE") as conn:
            assert conn.exec_driver_sql("select 1").scalar() == 1
        with engine.connect() as conn:
            assert conn.exec_driver_sql("select @@transaction_isolation" if "MariaDB" not in conn.exec_driver_sql("select version()").scalar() else "select @@tx_isolation").scalar() != "SERIALIZABLE"
    engine.dispose()
