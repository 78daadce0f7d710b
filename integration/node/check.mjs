// What the applications share: the server that libpq's environment variables name, and one line
// of output for each thing that they do.
import { readFileSync } from 'node:fs';

export const ssl = process.env.PGSSLROOTCERT ? { ca: readFileSync(process.env.PGSSLROOTCERT, 'utf8') } : false;

// check runs one thing that a driver does, and says how it went.
export async function check(driver, what, run) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('no answer within 60 s')), 60_000); });
  try {
    await Promise.race([run(), late]);
    console.log(`ok\t${driver}\t${what}`);
  } catch (err) {
    console.log(`not ok\t${driver}\t${what}\t${String(err?.stack ?? err).replaceAll('\n', ' | ')}`);
  } finally {
    clearTimeout(timer);
  }
}

export const range = (n) => Array.from({ length: n }, (_, i) => i);
