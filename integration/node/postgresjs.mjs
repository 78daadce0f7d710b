// A shop on Postgres.js, with and without prepared statements.
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import postgres from 'postgres';
import { check, range, ssl } from './check.mjs';

for (const prepare of [true, false]) {
  const driver = `Postgres.js${prepare ? '' : ', prepare: false'}`;
  const table = `postgresjs_${prepare ? 'a' : 'b'}`;
  const sql = postgres({ ssl, max: 10, prepare, onnotice: () => {} });

  await check(driver, 'queries', async () => {
    await sql`drop table if exists ${sql(table)}`;
    await sql`create table ${sql(table)} (id int primary key, customer text, tags text[], body jsonb, at timestamptz)`;
    await Promise.all(range(100).map((i) => sql`insert into ${sql(table)} ${sql({ id: i, customer: `c ${i % 5}`, tags: ['a', 'b'], body: { i }, at: new Date(0) })}`));
    const rows = await sql`select * from ${sql(table)} where id in ${sql([1, 2])} order by id`;
    assert.deepEqual(rows[1].body, { i: 2 });
    assert.deepEqual(rows[1].tags, ['a', 'b']);
  });

  await check(driver, 'pipelining', async () => {
    const one = postgres({ ssl, max: 1, prepare });
    try {
      for (const round of range(20)) {
        const got = await Promise.all(range(50).map((i) => one`select ${i}::int as i, ${`round ${round}`} as r`));
        got.forEach(([row], i) => assert.deepEqual({ ...row }, { i, r: `round ${round}` }));
      }
    } finally {
      await one.end();
    }
  });

  await check(driver, 'transactions', async () => {
    await Promise.all(range(20).map((i) => sql.begin(async (tx) => {
      await tx`update ${tx(table)} set customer = ${`tx ${i}`} where id = ${i}`;
      await tx.savepoint(async (sp) => { await sp`select 1/0`; }).catch((err) => assert.equal(err.code, '22012'));
      if (i % 2) throw new Error('no');
    }).catch((err) => assert.equal(err.message, 'no'))));
    const [{ n }] = await sql`select count(*)::int as n from ${sql(table)} where customer like 'tx %'`;
    assert.equal(n, 10);
  });

  await check(driver, 'cursor', async () => {
    let seen = 0;
    await sql`select i from generate_series(1, ${1000}::int) i`.cursor(37, async (rows) => { seen += rows.length; });
    for await (const rows of sql`select i from generate_series(1, 1000) i`.cursor(100)) seen += rows.length;
    assert.equal(seen, 2000);
  });

  await check(driver, 'COPY', async () => {
    const into = await sql`copy ${sql(table)} (id, customer) from stdin`.writable();
    await pipeline(Readable.from(range(5000).map((i) => `${1000 + i}\tcopied\n`)), into);
    let bytes = 0;
    for await (const chunk of await sql`copy (select id, customer from ${sql(table)} where customer = 'copied') to stdout`.readable()) bytes += chunk.length;
    assert.equal(bytes, 5000 * 12);
  });

  await check(driver, 'errors', async () => {
    await assert.rejects(sql`select * from no_such_table`, { code: '42P01' });
    await assert.rejects(sql`insert into ${sql(table)} (id) values (1)`, { code: '23505' });
    assert.equal((await sql`select 1 as one`)[0].one, 1);
  });

  await check(driver, 'schema change', async () => {
    const one = postgres({ ssl, max: 1, prepare });
    try {
      const all = () => one`select * from ${one(table)} where id = 1`;
      assert.equal((await all()).columns.length, 5);
      await sql`alter table ${sql(table)} add column extra int default 7`;
      assert.equal((await all())[0].extra, 7); // it prepares again by itself
    } finally {
      await one.end();
    }
  });

  await sql`drop table ${sql(table)}`;
  await sql.end();
}
