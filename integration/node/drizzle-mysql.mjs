// A shop on Drizzle over mysql2.
import assert from 'node:assert/strict';
import { eq, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/mysql2';
import { int, mysqlTable, varchar } from 'drizzle-orm/mysql-core';
import mysql from 'mysql2/promise';
import { check, range } from './check.mjs';
import { config } from './mysql.mjs';

const driver = 'Drizzle';
const customers = mysqlTable('drizzle_customers', { id: int('id').primaryKey().autoincrement(), name: varchar('name', { length: 40 }).notNull() });
const orders = mysqlTable('drizzle_orders', { id: int('id').primaryKey().autoincrement(), customer: int('customer').notNull(), amount: int('amount').notNull() });
const pool = mysql.createPool({ ...config, connectionLimit: 10 });
const db = drizzle(pool);

await check(driver, 'queries', async () => {
  await db.execute(sql`drop table if exists drizzle_orders, drizzle_customers`);
  await db.execute(sql`create table drizzle_customers (id int primary key auto_increment, name varchar(40) not null)`);
  await db.execute(sql`create table drizzle_orders (id int primary key auto_increment, customer int not null, amount int not null)`);
  const made = await Promise.all(range(30).map((i) => db.insert(customers).values({ name: `customer ${i}` }).$returningId()));
  await Promise.all(made.map(([c], i) => db.insert(orders).values([{ customer: c.id, amount: i }, { customer: c.id, amount: 1 }])));
  const rows = await db.select({ name: customers.name, total: sql`cast(sum(${orders.amount}) as signed)` }).from(customers)
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
  const one = db.select().from(customers).where(eq(customers.name, sql.placeholder('name'))).prepare();
  const got = await Promise.all(range(60).map((i) => one.execute({ name: `customer ${i % 30}` })));
  got.forEach(([row], i) => assert.equal(row.name, `customer ${i % 30}`));
});

await pool.end();
