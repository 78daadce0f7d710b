// A shop on mysql2: a pool, prepared statements, streams, and two clients in turn.
import assert from 'node:assert/strict';
import mysql from 'mysql2/promise';
import { check, range } from './check.mjs';
import { config } from './mysql.mjs';

const driver = 'mysql2';

await check(driver, 'two clients in turn', async () => {
  const a = await mysql.createConnection(config), b = await mysql.createConnection(config);
  await a.query("set time_zone = '+05:00'");
  for (const n of range(10)) {
    const [[one]] = await a.execute('select ? as n, @@time_zone as zone', [n]);
    const [[two]] = await b.execute('select ? as n, @@time_zone as zone', [`text ${n}`]);
    assert.deepEqual([one.n, one.zone], [n, '+05:00']);
    assert.equal(two.n, `text ${n}`);
    assert.notEqual(two.zone, '+05:00');
  }
  await a.end();
  await b.end();
});

await check(driver, 'pool', async () => {
  const pool = mysql.createPool({ ...config, connectionLimit: 10 });
  await pool.query('drop table if exists mysql2_t');
  await pool.query('create table mysql2_t (id int primary key auto_increment, who varchar(40), n decimal(10, 2), at datetime(3), body longblob, doc json)');
  const at = new Date('2024-02-29T01:02:03.004Z');
  const inserted = await Promise.all(range(100).map((i) => pool.execute('insert into mysql2_t (who, n, at, body, doc) values (?, ?, ?, ?, ?)',
    [`ünï ${i}`, `${i}.50`, at, Buffer.alloc(i * 1000, i), JSON.stringify({ i })])));
  const rows = await Promise.all(inserted.map(([r]) => pool.execute('select * from mysql2_t where id = ?', [r.insertId])));
  rows.forEach(([[row]], i) => {
    assert.deepEqual([row.who, row.n, row.at.getTime(), row.body.length], [`ünï ${i}`, `${i}.50`, at.getTime(), i * 1000]);
    assert.equal((typeof row.doc === 'string' ? JSON.parse(row.doc) : row.doc).i, i);
  });
  await pool.end();
});

await check(driver, 'transactions', async () => {
  const c = await mysql.createConnection(config);
  await c.beginTransaction();
  const [{ insertId }] = await c.query("insert into mysql2_t (who) values ('gone')");
  await assert.rejects(c.query('insert into mysql2_t (id) values (?)', [insertId]), { errno: 1062, code: 'ER_DUP_ENTRY' });
  await c.rollback();
  assert.equal((await c.query("select * from mysql2_t where who = 'gone'"))[0].length, 0);
  const [changed] = await c.query("update mysql2_t set who = who where id < 1000000");
  assert.equal(changed.affectedRows, 100); // found, whether they changed or not
  await c.end();
});

await check(driver, 'several statements and results', async () => {
  const c = await mysql.createConnection({ ...config, multipleStatements: true });
  const [results] = await c.query('select 1 as a; set @x = 5; select @x as x, 2 as b');
  assert.deepEqual([results[0][0].a, results[2][0].x, results[2][0].b], [1, 5, 2]);
  await assert.rejects(c.query('select 1; select nothing; select 3'), { errno: 1054 });
  await c.query('drop procedure if exists mysql2_p');
  await c.query('create procedure mysql2_p(in n int) begin select n; select n + 1 as m; end');
  const [called] = await c.query('call mysql2_p(?)', [41]);
  assert.deepEqual([called[0][0].n, called[1][0].m], [41, 42]);
  await c.end();
});

await check(driver, 'stream of large rows', async () => {
  const c = await mysql.createConnection(config);
  let n = 0, bytes = 0;
  const stream = c.connection.query("select repeat('x', 100000) as big from mysql2_t").stream();
  for await (const row of stream) { n++; bytes += row.big.length; }
  assert.deepEqual([n, bytes], [100, 100 * 100000]);
  await c.end();
});

await check(driver, 'change of user and reset', async () => {
  const c = await mysql.createConnection(config);
  await c.query("set @mine = 1, time_zone = '+07:00'");
  await c.changeUser({ user: config.user, password: config.password, database: config.database });
  const [[row]] = await c.query('select @mine as mine, @@time_zone as zone');
  assert.equal(row.mine, null);
  assert.notEqual(row.zone, '+07:00');
  await c.ping();
  await c.end();
});
