"""A shop on asyncpg: its pool resets connections, and its type lookups go on in between."""
import asyncio
import os
import ssl

import asyncpg

from check import check

DRIVER = "asyncpg"
tls = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])


def checked(what):
    return lambda f: check(DRIVER, what)(lambda: asyncio.run(asyncio.wait_for(f(), 60)))


async def connect():
    return await asyncpg.connect(ssl=tls)


@checked("pool")
async def _():
    conn = await connect()
    await conn.execute("drop table if exists asyncpg_t")
    await conn.execute("create table asyncpg_t (id serial primary key, who text, tags text[], body jsonb)")
    await conn.close()
    async with asyncpg.create_pool(ssl=tls, min_size=5, max_size=20) as pool:
        async def work(i):
            async with pool.acquire() as conn:
                row = await conn.fetchrow("insert into asyncpg_t (who, tags) values ($1, $2) returning who, tags", f"task {i}", ["a", str(i)])
                assert row["who"] == f"task {i}" and row["tags"] == ["a", str(i)]
        await asyncio.gather(*(work(i) for i in range(200)))
        assert await pool.fetchval("select count(*) from asyncpg_t") == 200


@checked("transactions")
async def _():
    conn = await connect()
    async with conn.transaction(isolation="repeatable_read"):
        await conn.execute("insert into asyncpg_t (who) values ('kept')")
        try:
            async with conn.transaction():
                await conn.execute("insert into asyncpg_t (who) values ('gone')")
                await conn.execute("select 1/0")
        except asyncpg.DivisionByZeroError:
            pass
    assert await conn.fetchval("select count(*) from asyncpg_t where who in ('kept', 'gone')") == 1
    await conn.close()


@checked("types of one's own")
async def _():
    conn = await connect()
    await conn.execute("drop type if exists asyncpg_color cascade; create type asyncpg_color as enum ('red', 'blue')")
    await conn.execute("drop type if exists asyncpg_point; create type asyncpg_point as (x int, c asyncpg_color)")
    other = await connect()
    for c in (conn, other, conn):
        assert tuple(await c.fetchval("select $1::asyncpg_point", (1, "blue"))) == (1, "blue")
        assert await c.fetchval("show jit") == await conn.fetchval("select reset_val from pg_settings where name = 'jit'")
    await conn.execute("drop type asyncpg_point; drop type asyncpg_color")
    await conn.close()
    await other.close()


@checked("cursor")
async def _():
    conn = await connect()
    async with conn.transaction():
        assert [r["i"] async for r in conn.cursor("select i from generate_series(1, $1::int) i", 500, prefetch=33)] == list(range(1, 501))
    await conn.close()


@checked("COPY")
async def _():
    conn = await connect()
    await conn.copy_records_to_table("asyncpg_t", records=[("copied", None)] * 3000, columns=["who", "tags"])
    chunks = []

    async def take(chunk):
        chunks.append(chunk)
    await conn.copy_from_query("select who from asyncpg_t where who = $1", "copied", output=take)
    assert b"".join(chunks) == b"copied\n" * 3000
    await conn.close()


@checked("schema change")
async def _():
    conn, other = await connect(), await connect()
    assert len(await conn.fetchrow("select * from asyncpg_t limit 1")) == 4
    await other.execute("alter table asyncpg_t add column extra int")
    assert len(await conn.fetchrow("select * from asyncpg_t limit 1")) == 5
    await conn.close()
    await other.close()


@checked("cancelled queries")
async def _():
    conn = await connect()
    for _ in range(3):
        try:
            await conn.fetch("select pg_sleep(30)", timeout=0.2)
            raise AssertionError("slept")
        except asyncio.TimeoutError:
            pass
        assert await conn.fetchval("select 1") == 1
    await conn.execute("drop table asyncpg_t")
    await conn.close()
