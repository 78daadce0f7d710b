// What the applications on MySQL share: the server that MYSQL_* variables name.
import { readFileSync } from 'node:fs';

const { MYSQL_HOST, MYSQL_PORT, MYSQL_USER, MYSQL_PASSWORD, MYSQL_DATABASE, MYSQL_CA } = process.env;

export const config = {
  host: MYSQL_HOST, port: Number(MYSQL_PORT), user: MYSQL_USER, password: MYSQL_PASSWORD, database: MYSQL_DATABASE,
  ...(MYSQL_CA && { ssl: { ca: readFileSync(MYSQL_CA, 'utf8') } }),
};
