// What try.mjs loads a server with: a lot of data that can be told from any other, and redis-benchmark.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Connection } from './checking-client.mjs';

const BATCH = 64; // keys asked for at once
const KEYS_PER_MIB = 64;
const VALUE_BYTES = 16_300; // with its key and header not quite 16 KiB, which is what its record takes
const PROGRESS_KEYS = 256 * KEYS_PER_MIB;

const contentOf = (index) => `${index} `.repeat(VALUE_BYTES / 2).slice(0, VALUE_BYTES);

export class Data {
  #port;
  keys;

  constructor(port, mebibytes) {
    this.#port = port;
    this.keys = mebibytes * KEYS_PER_MIB;
  }

  write(progress) {
    return this.#each(progress, (connection, index) => connection.ask('SET', `fill:${index}`, contentOf(index)));
  }

  // Reads it all back: how many values are not what was written.
  async countWrong(progress) {
    let wrong = 0;
    await this.#each(progress, async (connection, index) => {
      if ((await connection.ask('GET', `fill:${index}`)) !== contentOf(index)) wrong += 1;
    });
    return wrong;
  }

  async #each(progress, work) {
    const connection = new Connection(this.#port);
    for (let first = 0; first < this.keys; first += BATCH) {
      await Promise.all(Array.from({ length: BATCH }, (_, at) => work(connection, first + at)));
      if (first % PROGRESS_KEYS === 0 && first > 0) progress(`  ${first / KEYS_PER_MIB} MiB …`);
    }
    connection.socket.destroy();
  }
}

// What redis-benchmark measures. Its clients, too, are moved with the server: it fails where one is cut off.
export async function benchmark(port) {
  const args = ['-p', `${port}`, '-t', 'set,get,incr', '-n', '80000', '-r', '10000', '-c', '20', '--csv'];
  try {
    const { stdout } = await promisify(execFile)('redis-benchmark', args);
    const rows = stdout.trim().split('\n').slice(1);
    return rows.map((row) => row.replaceAll('"', '').split(',').slice(0, 2)).map(([test, rate]) => `${test} ${rate}/s`);
  } catch (error) {
    if (error.code === 'ENOENT') return ['not installed (package redis-tools)'];
    throw error;
  }
}
