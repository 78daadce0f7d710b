// node-postgres against the server that libpq's environment variables name.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import pg from 'pg';

const ssl = { ca: readFileSync(process.env.PGSSLROOTCERT, 'utf8') };
const connect = async (t) => {
  const client = new pg.Client({ ssl });
  await client.connect();
  t.after(() => client.end());
  return client;
};

test('simple and parameterised queries', async (t) => {
  const client = await connect(t);
  assert.deepEqual((await client.query("select 1 as a, 'ünï' as b, null as c")).rows, [{ a: 1, b: 'ünï', c: null }]);
  const { rows } = await client.query('select $1::int + $2::int as sum, $3::jsonb as j', [40, 2, { k: [1] }]);
  assert.deepEqual(rows, [{ sum: 42, j: { k: [1] } }]);
  assert.equal((await client.query('select 1; select 2')).length, 2);
});

test('named prepared statements from many clients at once', async (t) => {
  const pool = new pg.Pool({ ssl, max: 20 });
  t.after(() => pool.end());
  await Promise.all(Array.from({ length: 400 }, async (_, i) => {
    // one name, two texts in different clients would clash on a shared server connection
    const { rows } = await pool.query({ name: 'marker', text: 'select $1::text as marker', values: [`node ${i}`] });
    assert.equal(rows[0].marker, `node ${i}`);
  }));
});

test('one name for different texts in different clients', async (t) => {
  const clients = await Promise.all(Array.from({ length: 8 }, () => connect(t)));
  for (let round = 0; round < 5; round++) {
    await Promise.all(clients.map(async (client, i) => {
      const { rows } = await client.query({ name: 'same', text: `select ${i} as i, $1::int as round`, values: [round] });
      assert.deepEqual(rows, [{ i, round }]);
    }));
  }
});

test('transactions', async (t) => {
  const client = await connect(t);
  await client.query('drop table if exists node_tx');
  await client.query('create table node_tx (id int primary key)');
  await client.query('begin');
  await client.query('insert into node_tx values (1)');
  await client.query('rollback');
  assert.equal((await client.query('select * from node_tx')).rowCount, 0);
  await client.query('begin');
  await client.query('insert into node_tx values (1)');
  await client.query('savepoint s');
  await assert.rejects(client.query('insert into node_tx values (1)'), { code: '23505', constraint: 'node_tx_pkey' });
  await assert.rejects(client.query('select 1'), { code: '25P02' });
  await client.query('rollback to s');
  await client.query('insert into node_tx values (2)');
  await client.query('commit');
  assert.equal((await client.query('select * from node_tx')).rowCount, 2);
  await client.query('drop table node_tx');
});

test('errors are the server\'s and the connection lives on', async (t) => {
  const client = await connect(t);
  await assert.rejects(client.query('selec 1'), { code: '42601', severity: 'ERROR', position: '1' });
  await assert.rejects(client.query('select 1/$1::int', [0]), { code: '22012' });
  assert.equal((await client.query('select 1 as one')).rows[0].one, 1);
});

test('a wrong password is refused as PostgreSQL does', async () => {
  const client = new pg.Client({ ssl, password: 'wrong' });
  await assert.rejects(client.connect(), { code: '28P01' });
});

test('20 MB of rows', async (t) => {
  const client = await connect(t);
  const { rows } = await client.query("select i, repeat('x', 1000) as v from generate_series(1, 20000) i");
  assert.equal(rows.length, 20000);
  assert.ok(rows.every((row, n) => row.i === n + 1 && row.v.length === 1000));
});
