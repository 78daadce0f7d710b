"""A shop on psycopg2: a pool of threads, server-side cursors, COPY."""
import io
import threading

import psycopg2
import psycopg2.extras
import psycopg2.pool

from check import check

DRIVER = "psycopg2"
pool = psycopg2.pool.ThreadedConnectionPool(1, 20, "")


def connection(f):
    conn = pool.getconn()
    try:
        with conn:  # a transaction
            return f(conn)
    finally:
        pool.putconn(conn)


@check(DRIVER, "pool of threads")
def _():
    def setup(conn):
        conn.cursor().execute("drop table if exists psycopg2_t; create table psycopg2_t (id serial primary key, who text, n int)")
    connection(setup)
    failed = []

    def work(i):
        try:
            for n in range(20):
                def insert(conn):
                    with conn.cursor() as cur:
                        cur.execute("insert into psycopg2_t (who, n) values (%s, %s) returning who, n", (f"thread {i}", n))
                        assert cur.fetchone() == (f"thread {i}", n)
                connection(insert)
        except Exception as err:
            failed.append(err)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(15)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed

    def count(conn):
        cur = conn.cursor(cursor_factory=psycopg2.extras.DictCursor)
        cur.execute("select count(*) as n from psycopg2_t")
        assert cur.fetchone()["n"] == 300
    connection(count)


@check(DRIVER, "transactions")
def _():
    conn = psycopg2.connect("")
    conn.set_session(isolation_level="SERIALIZABLE")
    with conn.cursor() as cur:
        cur.execute("select current_setting('transaction_isolation')")
        assert cur.fetchone() == ("serializable",)
        try:
            cur.execute("select 1/0")
            raise AssertionError("1/0 is something")
        except psycopg2.errors.DivisionByZero:
            conn.rollback()
        cur.execute("select 1")
    conn.commit()
    conn.set_session(autocommit=True)
    conn.cursor().execute("vacuum psycopg2_t")
    conn.close()


@check(DRIVER, "server-side cursor")
def _():
    def read(conn):
        with conn.cursor("named") as cur:
            cur.itersize = 77
            cur.execute("select i from generate_series(1, 1000) i")
            assert sum(row[0] for row in cur) == 500500
    connection(read)


@check(DRIVER, "COPY")
def _():
    def copy(conn):
        cur = conn.cursor()
        cur.copy_expert("copy psycopg2_t (who, n) from stdin", io.StringIO("".join(f"copied\t{i}\n" for i in range(5000))))
        out = io.StringIO()
        cur.copy_expert("copy (select n from psycopg2_t where who = 'copied' order by id) to stdout", out)
        assert out.getvalue() == "".join(f"{i}\n" for i in range(5000))
    connection(copy)


@check(DRIVER, "batches")
def _():
    def batch(conn):
        cur = conn.cursor()
        psycopg2.extras.execute_values(cur, "insert into psycopg2_t (who, n) values %s", [("batch", i) for i in range(1000)])
        psycopg2.extras.execute_batch(cur, "update psycopg2_t set n = %s where who = 'batch' and n = %s", [(-i, i) for i in range(200)])
        cur.execute("select sum(n) from psycopg2_t where who = 'batch'")
        assert cur.fetchone()[0] == sum(range(200, 1000)) - sum(range(200))
    connection(batch)


@check(DRIVER, "asynchronous rows of 1 MB (Pooling48)")
def _():
    import select
    conn = psycopg2.connect("", async_=1)

    def wait():
        while True:
            state = conn.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            if state == psycopg2.extensions.POLL_READ:
                ready = select.select([conn], [], [], 30)[0]
            else:
                ready = select.select([], [conn], [], 30)[1]
            assert ready, "no answer within 30 s"
    wait()
    cur = conn.cursor()
    cur.execute("select repeat('x', 1048576) from generate_series(1, 20)")
    wait()
    assert sum(len(row[0]) for row in cur.fetchall()) == 20 * 1048576
    conn.close()


connection(lambda conn: conn.cursor().execute("drop table psycopg2_t"))
pool.closeall()
