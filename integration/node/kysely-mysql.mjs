// A shop on Kysely over mysql2, its migrations first.
import assert from 'node:assert/strict';
import { Kysely, Migrator, MysqlDialect, sql } from 'kysely';
import mysql from 'mysql2';
import { check, range } from './check.mjs';
import { config } from './mysql.mjs';

const driver = 'Kysely';
const db = new Kysely({ dialect: new MysqlDialect({ pool: mysql.createPool({ ...config, connectionLimit: 10 }) }) });

await check(driver, 'migrations', async () => {
  await sql`drop table if exists kysely_t, kysely_migration, kysely_migration_lock`.execute(db);
  const migrations = {
    1: { up: (db) => db.schema.createTable('kysely_t').addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement()).addColumn('who', 'varchar(40)').execute() },
    2: { up: (db) => db.schema.alterTable('kysely_t').addColumn('n', 'integer').execute() },
  };
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
  for (const want of [2, 0]) {
    const { error, results } = await migrator.migrateToLatest();
    if (error) throw error;
    assert.equal(results.length, want);
  }
});

await check(driver, 'queries', async () => {
  const made = await Promise.all(range(40).map((i) => db.insertInto('kysely_t').values({ who: `who ${i}`, n: i }).executeTakeFirstOrThrow()));
  const rows = await Promise.all(made.map((r) => db.selectFrom('kysely_t').selectAll().where('id', '=', Number(r.insertId)).executeTakeFirstOrThrow()));
  rows.forEach((row, i) => assert.deepEqual([row.who, row.n], [`who ${i}`, i]));
});

await check(driver, 'transactions', async () => {
  await assert.rejects(db.transaction().setIsolationLevel('serializable').execute(async (tx) => {
    await tx.insertInto('kysely_t').values({ who: 'gone' }).execute();
    throw new Error('no');
  }), /no/);
  assert.equal((await db.selectFrom('kysely_t').selectAll().where('who', '=', 'gone').execute()).length, 0);
});

await check(driver, 'stream', async () => {
  let n = 0;
  for await (const row of db.selectFrom('kysely_t').selectAll().stream()) n += row.n >= 0;
  assert.equal(n, 40);
});

await db.destroy();
