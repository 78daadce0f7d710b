"""A shop on PyMySQL or mysqlclient, which its argument names: the DB-API with its defaults, autocommit off."""
import importlib
import os
import sys
import threading

from check import check

DRIVER = sys.argv[1]
db = importlib.import_module({"PyMySQL": "pymysql", "mysqlclient": "MySQLdb"}[DRIVER])


def connect(**more):
    tls = {"ssl": {"ca": os.environ["MYSQL_CA"]}} if os.environ.get("MYSQL_CA") else {}
    return db.connect(host=os.environ["MYSQL_HOST"], port=int(os.environ["MYSQL_PORT"]), user=os.environ["MYSQL_USER"],
                      password=os.environ["MYSQL_PASSWORD"], database=os.environ["MYSQL_DATABASE"], charset="utf8mb4", **tls, **more)


def one(conn, sql, args=None):
    with conn.cursor() as cur:
        cur.execute(sql, args)
        return cur.fetchone()


@check(DRIVER, "two clients in turn")
def _():
    a, b = connect(), connect()
    one(a, "set time_zone = '+05:00'")
    for n in range(10):
        assert one(a, "select %s, @@time_zone, @@autocommit", (n,)) == (n, "+05:00", 0)
        a.commit()
        assert one(b, "select %s, @@time_zone <> '+05:00', @@autocommit", (f"text {n}",)) == (f"text {n}", 1, 0)
        b.rollback()
    a.close()
    b.close()


@check(DRIVER, "threads")
def _():
    conn = connect()
    one(conn, f"drop table if exists {DRIVER}_t")
    one(conn, f"create table {DRIVER}_t (id int primary key auto_increment, who varchar(40), n int, body longblob)")
    failed = []

    def work(i):
        try:
            mine = connect()
            for n in range(10):
                with mine.cursor() as cur:
                    cur.execute(f"insert into {DRIVER}_t (who, n, body) values (%s, %s, %s)", (f"ünï {i}", n, b"\x00\xff" * n * 1000))
                    row = one(mine, "select last_insert_id()")
                    assert row == (cur.lastrowid,), (row, cur.lastrowid)
                    assert one(mine, f"select who, n, length(body) from {DRIVER}_t where id = %s", row) == (f"ünï {i}", n, n * 2000)
                mine.commit()
            mine.close()
        except Exception as err:
            failed.append(err)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]
    assert one(conn, f"select count(*) from {DRIVER}_t") == (100,)
    conn.close()


@check(DRIVER, "transactions")
def _():
    conn = connect()
    with conn.cursor() as cur:
        cur.executemany(f"insert into {DRIVER}_t (who, n) values (%s, %s)", [("gone", i) for i in range(50)])
        try:
            cur.execute(f"insert into {DRIVER}_t (id) values (1), (1)")
            raise AssertionError("a key twice")
        except db.IntegrityError as err:
            assert err.args[0] == 1062
    conn.rollback()
    assert one(conn, f"select count(*) from {DRIVER}_t where who = 'gone'") == (0,)
    conn.close()


@check(DRIVER, "cursor on the server, and a procedure")
def _():
    conn = connect()
    cursors = importlib.import_module(db.__name__ + ".cursors")
    with conn.cursor(cursors.SSCursor) as cur:
        cur.execute(f"select id from {DRIVER}_t order by id")
        assert len(list(cur)) == 100
    one(conn, f"drop procedure if exists {DRIVER}_p")
    one(conn, f"create procedure {DRIVER}_p(in n int) begin select n; select n + 1; end")
    with conn.cursor() as cur:
        cur.callproc(f"{DRIVER}_p", (41,))
        assert cur.fetchone() == (41,)
        assert cur.nextset() and cur.fetchone() == (42,)
    conn.ping()
    conn.close()
