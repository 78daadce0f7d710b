// A shop on Drizzle over node-postgres, its migrations first.
import assert from 'node:assert/strict';
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eq, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { migrate } from 'drizzle-orm/node-postgres/migrator';
import { integer, pgTable, serial, text } from 'drizzle-orm/pg-core';
import pg from 'pg';
import { check, range, ssl } from './check.mjs';

const driver = 'Drizzle';
const customers = pgTable('drizzle_customers', { id: serial('id').primaryKey(), name: text('name').notNull() });
const orders = pgTable('drizzle_orders', { id: serial('id').primaryKey(), customer: integer('customer').notNull(), amount: integer('amount').notNull() });
const pool = new pg.Pool({ ssl, max: 10 });
const db = drizzle(pool);

await check(driver, 'migrations (Pooling49)', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'drizzle-'));
  const entries = [
    'create table drizzle_customers (id serial primary key, name text not null)',
    'create table drizzle_orders (id serial primary key, customer int not null references drizzle_customers, amount int not null);--> statement-breakpoint\ncreate index on drizzle_orders (customer)',
  ];
  try {
    mkdirSync(join(folder, 'meta'));
    entries.forEach((text, i) => writeFileSync(join(folder, `${i}.sql`), text));
    writeFileSync(join(folder, 'meta/_journal.json'), JSON.stringify({ version: '7', dialect: 'postgresql',
      entries: entries.map((_, i) => ({ idx: i, version: '7', when: i + 1, tag: String(i), breakpoints: true })) }));
    await migrate(db, { migrationsFolder: folder });
    await migrate(db, { migrationsFolder: folder }); // nothing is left to do
    const { rows } = await db.execute(sql`select count(*)::int as n from drizzle.__drizzle_migrations`);
    assert.equal(rows[0].n, 2);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

await check(driver, 'queries', async () => {
  const made = await Promise.all(range(30).map((i) => db.insert(customers).values({ name: `customer ${i}` }).returning()));
  await Promise.all(made.map(([c], i) => db.insert(orders).values([{ customer: c.id, amount: i }, { customer: c.id, amount: 1 }])));
  const rows = await db.select({ name: customers.name, total: sql`sum(${orders.amount})::int` }).from(customers)
    .innerJoin(orders, eq(orders.customer, customers.id)).groupBy(customers.name);
  assert.equal(rows.length, 30);
  assert.equal(rows.find((r) => r.name === 'customer 29').total, 30);
});

await check(driver, 'transactions', async () => {
  await assert.rejects(db.transaction(async (tx) => {
    await tx.insert(customers).values({ name: 'gone' });
    await tx.transaction(async (inner) => { await inner.insert(customers).values({ name: 'gone too' }); });
    tx.rollback();
  }));
  assert.equal((await db.select().from(customers).where(eq(customers.name, 'gone'))).length, 0);
});

await check(driver, 'prepared statements', async () => {
  const one = db.select().from(customers).where(eq(customers.name, sql.placeholder('name'))).prepare('drizzle_one');
  const got = await Promise.all(range(60).map((i) => one.execute({ name: `customer ${i % 30}` })));
  got.forEach(([row], i) => assert.equal(row.name, `customer ${i % 30}`));
});

await pool.query('drop table drizzle_orders, drizzle_customers; drop schema drizzle cascade');
await pool.end();
