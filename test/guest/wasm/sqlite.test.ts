/** SQLite, compiled to WebAssembly by its authors, with a database in its memory: it moves while it is queried. */
import { afterEach, expect, test } from 'vitest';
import { listen, MigrationError, migrate, WasmGuest, type WasmGuestSettings } from '#lib/index.js';
import { thereAndBack } from '#lib/testing/index.js';
import { MadeGuests } from '../../../testing/made-guests.ts';
import { isTaskInFault, until } from '../../../testing/native-thread.ts';

const MIB = 2 ** 20;
const database = (more: Partial<WasmGuestSettings> = {}): WasmGuestSettings => ({
  program: new URL('../../../examples/wasm-sqlite-program.mjs', import.meta.url),
  memory: 64 * MIB,
  ...more,
});
const guests = new MadeGuests(WasmGuest);

afterEach(() => guests.close());

const query = (guest: WasmGuest, vcpu: number, sql: string, ...parameters: unknown[]): Promise<unknown> =>
  guest.call({ sql, parameters }, vcpu);

const text = (number: number): string => `row ${number} `.repeat(40);

/** Rows from `from` to `to`, each with a text of about 350 bytes, in one transaction. */
async function insert(guest: WasmGuest, vcpu: number, from: number, to: number): Promise<void> {
  const numbers = Array.from({ length: to - from }, (_, index) => from + index);
  await Promise.all([
    query(guest, vcpu, 'BEGIN'),
    ...numbers.map((number) => query(guest, vcpu, 'INSERT INTO row VALUES (?, ?)', number, text(number))),
    query(guest, vcpu, 'COMMIT'),
  ]);
}

/** A table of its own in each vCPU. */
async function createTables(guest: WasmGuest, vcpus: number): Promise<void> {
  for (let vcpu = 0; vcpu < vcpus; vcpu++) {
    await query(guest, vcpu, 'CREATE TABLE row (number INTEGER PRIMARY KEY, text TEXT NOT NULL)');
    await query(guest, vcpu, 'CREATE INDEX by_text ON row (text)');
  }
}

/** All rows up to `count` are there as they were written, by the table and by its index, and nothing else is. */
async function checkRows(guest: WasmGuest, vcpu: number, count: number): Promise<void> {
  const [[rows, numbers]] = (await query(guest, vcpu, 'SELECT count(*), sum(number) FROM row')) as number[][];
  expect([rows, numbers]).toEqual([count, (count * (count - 1)) / 2]);
  const wrong = `SELECT count(*) FROM row WHERE text <> replace(hex(zeroblob(20)), '00', 'row ' || number || ' ')
    || replace(hex(zeroblob(20)), '00', 'row ' || number || ' ')`;
  expect(await query(guest, vcpu, wrong)).toEqual([[0]]);
  expect(await query(guest, vcpu, 'SELECT number FROM row INDEXED BY by_text WHERE text = ?', text(7))).toEqual([[7]]);
  expect(await query(guest, vcpu, 'PRAGMA integrity_check')).toEqual([['ok']]);
}

test('two databases move there and back five times, and every row that was acknowledged is there', async () => {
  const VCPUS = 2;
  const small = database({ vcpus: VCPUS, memory: 16 * MIB });
  const STEP = 50;
  let rows = 0;
  const moves = await thereAndBack(
    {
      create: async () => {
        const guest = await WasmGuest.create(small);
        await guest.start();
        await createTables(guest, VCPUS);
        await guest.stop();
        return guest;
      },
      empty: () => WasmGuest.create(small),
      progress: async (guest) => {
        for (let vcpu = 0; vcpu < VCPUS; vcpu++) await insert(guest, vcpu, rows, rows + STEP);
        rows += STEP;
      },
      verify: async (guest) => {
        await guest.start();
        for (let vcpu = 0; vcpu < VCPUS; vcpu++) await checkRows(guest, vcpu, rows);
        await guest.stop();
      },
      close: (guest) => guest.close(),
    },
    { times: 5 },
  );
  expect(moves).toHaveLength(10);
  expect(rows).toBe(20 * STEP);
});

test('rows written before, during and after a move are all there, and its code waits in real page faults', async () => {
  const guest = await guests.start(database());
  await createTables(guest, 1);
  await insert(guest, 0, 0, 10_000);
  const there = await guests.create(database());

  const capabilities = { postcopyRam: true };
  const incoming = await listen('tcp:127.0.0.1:0', { guest: there, capabilities });
  const outgoing = await migrate(guest, incoming.uri, {
    capabilities,
    parameters: { maxBandwidth: 8 * MIB, maxPostcopyBandwidth: 4 * MIB },
  });
  await insert(guest, 0, 10_000, 11_000); // while memory is sent
  const asked = query(guest, 0, 'SELECT count(*) FROM row').catch((error) => error);
  await outgoing.startPostcopy();
  guest.takeUnanswered();
  const answer = await asked; // it was begun here, or is to be asked again there
  if (answer instanceof MigrationError) expect(answer.code).toBe('GUEST_MOVED');
  else expect(answer).toEqual([[11_000]]);

  const [task] = there.vcpuThreads;
  const inserted = insert(there, 0, 11_000, 12_000); // while pages are missing
  await until('it waits for a page', () => isTaskInFault(task));
  await inserted;
  await checkRows(there, 0, 12_000);
  await Promise.all([outgoing.finished, incoming.finished]);
  expect(incoming.info().faults.count).toBeGreaterThan(0);

  await insert(there, 0, 12_000, 13_000);
  await checkRows(there, 0, 13_000);
});
