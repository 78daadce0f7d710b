// A Worker that asks a private database through a Hyperdrive binding, on each driver as
// Hyperdrive's documentation shows it.
import mysql from 'mysql';
import { createConnection } from 'mysql2/promise';
import { Client } from 'pg';
import postgres from 'postgres';

async function onPostgresJS(env, ctx, who) {
  const sql = postgres(env.HYPERDRIVE.connectionString, { max: 5, fetch_types: false });
  try {
    await sql`insert into visits ${sql({ who, tags: ['a', 'b'].join() })}`;
    const [visit] = await sql`select who, tags, seen > now() - interval '1 hour' as recent from visits where who = ${who}`;
    const undone = await sql.begin(async (tx) => {
      await tx`delete from visits where who = ${who}`;
      throw new Error('undone');
    }).catch((err) => err.message);
    const [{ n }] = await sql`select count(*)::int as n from visits where who = ${who}`;
    const twice = await sql`insert into visits ${sql({ who })}`.catch((err) => err.code);
    const together = await Promise.all(Array.from({ length: 20 }, (_, i) => sql`select ${i}::int as i`.then(([row]) => row.i)));
    return { visit, undone, n, twice, together: together.every((got, i) => got === i) };
  } finally {
    ctx.waitUntil(sql.end());
  }
}

async function onPg(env, ctx, who) {
  const client = new Client({ connectionString: env.HYPERDRIVE.connectionString });
  await client.connect();
  try {
    await client.query('insert into visits (who, tags) values ($1, $2)', [who, 'a,b']);
    const { rows: [visit] } = await client.query("select who, tags, seen > now() - interval '1 hour' as recent from visits where who = $1", [who]);
    await client.query('begin');
    await client.query('delete from visits where who = $1', [who]);
    await client.query('rollback');
    const { rows: [{ n }] } = await client.query({ name: 'count', text: 'select count(*)::int as n from visits where who = $1', values: [who] });
    const twice = await client.query('insert into visits (who) values ($1)', [who]).catch((err) => err.code);
    const together = await Promise.all(Array.from({ length: 20 }, (_, i) => client.query('select $1::int as i', [i]).then(({ rows }) => rows[0].i)));
    return { visit, undone: 'undone', n, twice, together: together.every((got, i) => got === i) };
  } finally {
    ctx.waitUntil(client.end());
  }
}

// onMySQL does on a connection what the others do, whose functions return promises of rows.
async function onMySQL({ query, execute }, who) {
  await execute('insert into visits (who, tags) values (?, ?)', [who, 'a,b']);
  const [visit] = await execute('select who, tags, seen > now() - interval 1 hour as recent from visits where who = ?', [who]);
  await query('start transaction');
  await query('delete from visits where who = ?', [who]);
  await query('rollback');
  const [{ n }] = await execute('select count(*) as n from visits where who = ?', [who]);
  const twice = await query('insert into visits (who) values (?)', [who]).catch((err) => err.code);
  const together = await Promise.all(Array.from({ length: 20 }, (_, i) => execute('select ? + 0 as i', [i]).then(([row]) => row.i)));
  return { visit: { ...visit, recent: visit.recent === 1 }, undone: 'undone', n, twice, together: together.every((got, i) => Number(got) === i) };
}

function settings({ host, port, user, password, database }) {
  return { host, port, user, password, database };
}

async function onMySQL2(env, ctx, who) {
  const connection = await createConnection({ ...settings(env.HYPERDRIVE_MYSQL), disableEval: true }); // Workers have no eval
  try {
    return await onMySQL({
      query: async (text, values) => (await connection.query(text, values))[0],
      execute: async (text, values) => (await connection.execute(text, values))[0],
    }, who);
  } finally {
    ctx.waitUntil(connection.end());
  }
}

async function onMySQLJS(env, ctx, who) {
  const connection = mysql.createConnection(settings(env.HYPERDRIVE_MYSQL));
  const query = (text, values) => new Promise((resolve, reject) => {
    connection.query(text, values, (err, rows) => (err ? reject(err) : resolve(rows)));
  });
  try {
    return await onMySQL({ query, execute: query }, who);
  } finally {
    ctx.waitUntil(new Promise((resolve) => connection.end(resolve)));
  }
}

export default {
  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url);
    const run = { '/postgres.js': onPostgresJS, '/pg': onPg, '/mysql2': onMySQL2, '/mysql': onMySQLJS }[pathname];
    if (!run) return new Response('ready');
    try {
      return Response.json(await run(env, ctx, searchParams.get('who')));
    } catch (err) {
      return Response.json({ error: String(err?.stack ?? err) }, { status: 500 });
    }
  },
};
