// A shop on node-postgres: a pool behind a web server, reports by cursor and stream.
import assert from 'node:assert/strict';
import pg from 'pg';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import { check, range, ssl } from './check.mjs';

const driver = 'node-postgres';
const pool = new pg.Pool({ ssl, max: 20 });

await check(driver, 'pool', async () => {
  await pool.query('drop table if exists pg_orders');
  await pool.query('create table pg_orders (id serial primary key, customer text not null, amount numeric not null, at timestamptz default now())');
  await Promise.all(range(200).map((i) => pool.query('insert into pg_orders (customer, amount) values ($1, $2)', [`customer ${i % 10}`, i])));
  const { rows } = await pool.query('select customer, count(*)::int as n, sum(amount)::float as total from pg_orders group by 1 order by 1');
  assert.equal(rows.length, 10);
  assert.deepEqual(rows[0], { customer: 'customer 0', n: 20, total: 1900 });
});

await check(driver, 'transactions', async () => {
  await Promise.all(range(20).map(async (i) => {
    const client = await pool.connect();
    try {
      await client.query('begin');
      await client.query('insert into pg_orders (customer, amount) values ($1, 1)', [`tx ${i}`]);
      await client.query('savepoint s');
      await assert.rejects(client.query('insert into pg_orders (customer, amount) values (null, 1)'), { code: '23502' });
      await client.query('rollback to savepoint s');
      await client.query(i % 2 ? 'commit' : 'rollback');
    } finally {
      client.release();
    }
  }));
  const { rows } = await pool.query("select count(*)::int as n from pg_orders where customer like 'tx %'");
  assert.equal(rows[0].n, 10);
});

await check(driver, 'prepared statements', async () => {
  await Promise.all(range(200).map(async (i) => {
    const { rows } = await pool.query({ name: `by customer ${i % 7}`, text: `select ${i % 7} as q, $1::text as c`, values: [`c${i}`] });
    assert.deepEqual(rows, [{ q: i % 7, c: `c${i}` }]);
  }));
});

await check(driver, 'cursor', async () => {
  const client = await pool.connect();
  try {
    const cursor = client.query(new Cursor('select i from generate_series(1, $1::int) i', [1000]));
    let seen = 0;
    for (let rows = await cursor.read(64); rows.length > 0; rows = await cursor.read(64)) {
      for (const row of rows) assert.equal(row.i, ++seen);
    }
    await cursor.close();
    assert.equal(seen, 1000);
  } finally {
    client.release();
  }
});

await check(driver, 'stream', async () => {
  const client = await pool.connect();
  try {
    let sum = 0;
    for await (const row of client.query(new QueryStream('select i from generate_series(1, $1::int) i', [5000], { batchSize: 100 }))) sum += row.i;
    assert.equal(sum, 12502500);
  } finally {
    client.release();
  }
});

await check(driver, 'start-up options', async () => {
  const client = new pg.Client({ ssl, statement_timeout: 3000, options: '-c work_mem=5MB', application_name: 'shop' });
  await client.connect();
  try {
    const { rows } = await client.query("select current_setting('work_mem') as m, current_setting('statement_timeout') as t");
    assert.deepEqual(rows, [{ m: '5MB', t: '3s' }]);
    await assert.rejects(client.query('select pg_sleep(30)'), { code: '57014' });
  } finally {
    await client.end();
  }
});

await pool.query('drop table pg_orders');
await pool.end();
