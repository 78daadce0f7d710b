// A shop on Kysely over node-postgres, its migrations first.
import assert from 'node:assert/strict';
import { Kysely, Migrator, PostgresDialect, sql } from 'kysely';
import pg from 'pg';
import Cursor from 'pg-cursor';
import { check, range, ssl } from './check.mjs';

const driver = 'Kysely';
const db = new Kysely({ dialect: new PostgresDialect({ pool: new pg.Pool({ ssl, max: 10 }), cursor: Cursor }) });

await check(driver, 'migrations (Pooling49)', async () => {
  const migrations = {
    '1_customers': { up: (k) => k.schema.createTable('kysely_customers').addColumn('id', 'serial', (c) => c.primaryKey()).addColumn('name', 'text', (c) => c.notNull()).execute(),
      down: (k) => k.schema.dropTable('kysely_customers').execute() },
    '2_email': { up: (k) => k.schema.alterTable('kysely_customers').addColumn('email', 'text').execute(),
      down: (k) => k.schema.alterTable('kysely_customers').dropColumn('email').execute() },
  };
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
  assert.ifError((await migrator.migrateTo('1_customers')).error);
  // several servers of a deployment start at once: one migrates, the others wait for it
  for (const { error } of await Promise.all([migrator.migrateToLatest(), migrator.migrateToLatest()])) assert.ifError(error);
  assert.ifError((await migrator.migrateDown()).error);
  assert.ifError((await migrator.migrateToLatest()).error);
});

await check(driver, 'queries', async () => {
  await Promise.all(range(50).map((i) => db.insertInto('kysely_customers').values({ name: `customer ${i}`, email: `${i}@example.com` }).execute()));
  const { n } = await db.selectFrom('kysely_customers').select(({ fn }) => fn.countAll().as('n')).executeTakeFirstOrThrow();
  assert.equal(Number(n), 50);
});

await check(driver, 'transactions', async () => {
  await Promise.all(range(10).map((i) => db.transaction().setIsolationLevel('repeatable read').execute(async (tx) => {
    await tx.updateTable('kysely_customers').set({ email: null }).where('name', '=', `customer ${i}`).execute();
    if (i % 2) throw new Error('no');
  }).catch((err) => assert.equal(err.message, 'no'))));
  const rows = await db.selectFrom('kysely_customers').selectAll().where('email', 'is', null).execute();
  assert.equal(rows.length, 5);
});

await check(driver, 'stream', async () => {
  let n = 0;
  for await (const _ of db.selectFrom('kysely_customers').selectAll().stream(7)) n++;
  assert.equal(n, 50);
});

await sql`drop table kysely_customers, kysely_migration, kysely_migration_lock`.execute(db);
await db.destroy();
