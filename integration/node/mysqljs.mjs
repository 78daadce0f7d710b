// A shop on mysqljs, the driver of old: mysql_native_password alone, no prepared statements.
import assert from 'node:assert/strict';
import { promisify } from 'node:util';
import mysql from 'mysql';
import { check, range } from './check.mjs';
import { config } from './mysql.mjs';

const driver = 'mysqljs';
const connect = () => {
  const c = mysql.createConnection(config);
  return { query: promisify(c.query).bind(c), end: promisify(c.end).bind(c), begin: promisify(c.beginTransaction).bind(c),
    rollback: promisify(c.rollback).bind(c), ping: promisify(c.ping).bind(c), changeUser: promisify(c.changeUser).bind(c) };
};

await check(driver, 'two clients in turn', async () => {
  const a = connect(), b = connect();
  await a.query("set sql_mode = 'ANSI_QUOTES'");
  for (const n of range(10)) {
    const [one] = await a.query('select ? as n, "t"."one" as one from (select 1 as "one") t', [n]);
    const [two] = await b.query('select ? as n, "text" as t', [`text ${n}`]);
    assert.deepEqual({ ...one }, { n, one: 1 });
    assert.deepEqual({ ...two }, { n: `text ${n}`, t: 'text' });
  }
  await a.end();
  await b.end();
});

await check(driver, 'pool', async () => {
  const pool = mysql.createPool({ ...config, connectionLimit: 10 });
  const query = promisify(pool.query).bind(pool);
  await query('drop table if exists mysqljs_t');
  await query('create table mysqljs_t (id int primary key auto_increment, who varchar(40), body longblob)');
  const made = await Promise.all(range(100).map((i) => query('insert into mysqljs_t set ?', { who: `ünï ${i}`, body: Buffer.alloc(i * 1000, i) })));
  const rows = await Promise.all(made.map((r) => query('select who, length(body) as n from mysqljs_t where id = ?', [r.insertId])));
  rows.forEach(([row], i) => assert.deepEqual({ ...row }, { who: `ünï ${i}`, n: i * 1000 }));
  await promisify(pool.end).bind(pool)();
});

await check(driver, 'transactions', async () => {
  const c = connect();
  await c.begin();
  const { insertId } = await c.query("insert into mysqljs_t (who) values ('gone')");
  await assert.rejects(c.query('insert into mysqljs_t (id) values (?)', [insertId]), { errno: 1062 });
  await c.rollback();
  assert.equal((await c.query("select * from mysqljs_t where who = 'gone'")).length, 0);
  await c.changeUser({});
  await c.ping();
  await c.end();
});
