"""A shop on psycopg 3: prepared statements after a threshold, pipelines, COPY, asyncio."""
import asyncio

import psycopg

from check import check

DRIVER = "psycopg 3"


@check(DRIVER, "prepared statements")
def _():
    conns = [psycopg.connect("", autocommit=True, prepare_threshold=2) for _ in range(12)]
    for n in range(12):
        for i, conn in enumerate(conns):
            assert conn.execute("select %s::int, %s::text", (n, f"c{i}")).fetchone() == (n, f"c{i}")
    for conn in conns[:3]:
        for n in range(120):  # more than it keeps: old ones are deallocated by SQL
            for _ in range(3):
                assert conn.execute(f"select %s::int + {n}", (1,)).fetchone() == (n + 1,)
    for conn in conns:
        conn.close()


@check(DRIVER, "transactions")
def _():
    with psycopg.connect("") as conn:
        conn.execute("drop table if exists psycopg3_t")
        conn.execute("create table psycopg3_t (id serial primary key, who text, n int)")
    with psycopg.connect("", autocommit=True) as conn:
        with conn.transaction():
            conn.execute("insert into psycopg3_t (who) values ('kept')")
            try:
                with conn.transaction():
                    conn.execute("insert into psycopg3_t (who) values ('gone')")
                    conn.execute("select 1/0")
            except psycopg.errors.DivisionByZero:
                pass
        assert conn.execute("select who from psycopg3_t").fetchall() == [("kept",)]


@check(DRIVER, "pipelines")
def _():
    with psycopg.connect("", autocommit=True) as conn:
        with conn.pipeline() as p:
            curs = [conn.execute("select %s::int", (i,)) for i in range(200)]
            p.sync()
            assert [c.fetchone()[0] for c in curs] == list(range(200))
            conn.cursor().executemany("insert into psycopg3_t (who, n) values (%s, %s)", [("pipeline", i) for i in range(500)])
        try:
            with conn.pipeline() as p:
                conn.execute("select 1/0")
                conn.execute("insert into psycopg3_t (who) values ('skipped')")
                p.sync()
        except (psycopg.errors.DivisionByZero, psycopg.errors.PipelineAborted):
            pass  # which of the two depends on how much of the answer has come
        assert conn.execute("select count(*) from psycopg3_t where who in ('pipeline', 'skipped')").fetchone() == (500,)


@check(DRIVER, "server-side cursor")
def _():
    with psycopg.connect("") as conn, conn.cursor("named") as cur:
        cur.execute("select i from generate_series(1, %s) i", (1000,))
        assert len(cur.fetchmany(10)) == 10
        assert len(cur.fetchall()) == 990


@check(DRIVER, "COPY")
def _():
    with psycopg.connect("") as conn, conn.cursor() as cur:
        with cur.copy("copy psycopg3_t (who, n) from stdin (format binary)") as copy:
            copy.set_types(["text", "int4"])
            for i in range(5000):
                copy.write_row(("copied", i))
        with cur.copy("copy (select n from psycopg3_t where who = 'copied' order by id) to stdout") as copy:
            copy.set_types(["int4"])
            assert [row[0] for row in copy.rows()] == list(range(5000))


@check(DRIVER, "asyncio, rows of 1 MB (Pooling48)")
def _():
    async def client(i):
        async with await psycopg.AsyncConnection.connect("") as conn:
            for _ in range(2):
                rows = await (await conn.execute("select repeat(%s, 1048576) from generate_series(1, 5)", (str(i),))).fetchall()
                assert len(rows) == 5 and all(row[0] == str(i) * 1048576 for row in rows)

    async def clients():
        await asyncio.wait_for(asyncio.gather(*(client(i) for i in range(6))), 60)
    asyncio.run(clients())


with psycopg.connect("") as conn:
    conn.execute("drop table psycopg3_t")
