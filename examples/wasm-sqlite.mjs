// A SQLite database in WebAssembly memory moves to another process while rows are written to it.
//
//   node examples/wasm-sqlite.mjs
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { listen, migrate, WasmGuest } from 'postcopy';

const settings = { program: new URL('./wasm-sqlite-program.mjs', import.meta.url), memory: 128 * 2 ** 20 };
const capabilities = { postcopyRam: true };
const ROWS = 20_000;

/** The other process: takes the database over, and answers what it is asked. */
async function destination() {
  const guest = await WasmGuest.create(settings);
  const incoming = await listen('tcp:127.0.0.1:0', { guest, capabilities });
  process.on('message', async ({ id, message }) => process.send({ id, rows: await guest.call(message) }));
  process.send({ uri: incoming.uri });
  await incoming.finished;
  process.send({ faults: incoming.info().faults });
}

/** The process that runs {@link destination}, as this one has it. */
class Successor {
  #asked = new Map();
  #process = fork(fileURLToPath(import.meta.url), ['destination']);

  constructor() {
    this.uri = new Promise((resolve) => this.#process.on('message', ({ uri }) => uri && resolve(uri)));
    this.faults = new Promise((resolve) => this.#process.on('message', ({ faults }) => faults && resolve(faults)));
    this.#process.on('message', ({ id, rows }) => this.#asked.get(id)?.(rows));
  }

  call(message) {
    const id = this.#asked.size;
    this.#process.send({ id, message });
    return new Promise((resolve) => this.#asked.set(id, resolve));
  }

  end() {
    this.#process.kill();
  }
}

async function source() {
  const successor = new Successor();
  const guest = await WasmGuest.create(settings);
  await guest.start();
  let callee = guest;

  /** Asks wherever the database is; what was not begun here is asked again there. */
  async function query(sql, ...parameters) {
    try {
      return await callee.call({ sql, parameters });
    } catch (error) {
      if (error.code !== 'GUEST_MOVED') throw error;
      return successor.call({ sql, parameters });
    }
  }

  await query('CREATE TABLE row (number INTEGER PRIMARY KEY, text TEXT)');
  const insert = (number) => query('INSERT INTO row VALUES (?, ?)', number, `row ${number} `.repeat(50));
  await query('BEGIN');
  for (let row = 0; row < ROWS; row += 1) await insert(row);
  await query('COMMIT');
  console.log(`source: ${ROWS} rows`);

  let answered = ROWS;
  let writing = true;
  const writer = (async () => {
    for (; writing; answered += 1) await insert(answered);
  })();

  const outgoing = await migrate(guest, await successor.uri, {
    capabilities,
    parameters: { maxBandwidth: 0 },
    postcopyAfterPasses: 0,
  });
  await outgoing.startPostcopy();
  callee = successor;
  guest.takeUnanswered();
  const { downtime } = await outgoing.finished;
  const faults = await successor.faults;
  console.log(`moved: downtime ${downtime.toFixed(1)} ms, ${faults.count} page faults, p50 ${faults.p50Us} µs`);
  console.log(`${answered - ROWS} more rows were written meanwhile`);
  guest.close();

  writing = false;
  await writer;
  const [[rows]] = await query('SELECT count(*) FROM row');
  const [[integrity]] = await query('PRAGMA integrity_check');
  console.log(`destination: ${rows} rows, ${answered - Number(rows)} lost, integrity ${integrity}`);
  successor.end();
}

await (process.argv[2] === 'destination' ? destination() : source());
