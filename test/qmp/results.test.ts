/** What the commands answer, and a migration tells, is what the tables say that it is. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { StressGuest } from '#lib/index.js';
import { checkArguments } from '#lib/qmp/arguments.js';
import { createCommands } from '#lib/qmp/commands.js';
import { GuestHost } from '#lib/qmp/guest-host.js';
import type { QmpEvent } from '#lib/qmp/messages.js';
import { events } from '#lib/qmp/results.js';
import type { QmpType } from '#lib/qmp/types.js';

const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: 'a test' };
const capabilities = [
  { capability: 'events', state: true },
  { capability: 'postcopy-ram', state: true },
  { capability: 'postcopy-blocktime', state: true },
];

function requireIs(value: unknown, type: QmpType): void {
  checkArguments(JSON.parse(JSON.stringify({ value })), { value: type });
}

class Held {
  readonly guest = StressGuest.empty({ memory: 1024 * 1024 });
  readonly told: QmpEvent[] = [];
  readonly host: GuestHost;
  readonly #commands;

  constructor(what: 'guest' | 'room') {
    this.host = new GuestHost({ [what]: this.guest });
    this.host.on('event', (event) => this.told.push(event));
    this.#commands = createCommands(this.host, version);
    this.host.setCapabilities(capabilities);
  }

  /** Every query's answer is held against its table; returns how many there are. */
  async query(): Promise<number> {
    const queries = [...this.#commands].filter(([name]) => name.startsWith('query-'));
    for (const [, { run, gives }] of queries) requireIs(await run({} as never), gives);
    return queries.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host.close();
    await this.guest.stop();
    this.guest.close();
  }
}

test('before, during and after a migration by postcopy', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  const uri = `unix:${folder}/migration`;
  await using source = new Held('guest');
  await using destination = new Held('room');
  const both = [source, destination];
  const queryBoth = async () => {
    for (const side of both) expect(await side.query()).toBe(7);
  };
  await source.host.cont();
  await queryBoth();
  await destination.host.listen(uri);
  await queryBoth();
  source.host.migrate(uri);
  source.host.startPostcopy();
  await expect.poll(() => destination.host.queryMigrate().status, { timeout: 20_000 }).toBe('completed');
  await expect.poll(() => source.host.queryMigrate().status, { timeout: 20_000 }).toBe('completed');
  await queryBoth();
  await destination.host.stop();
  for (const { host } of both) host.quit('host-signal');

  const names = new Set<string>();
  for (const { event, data } of both.flatMap(({ told }) => told)) {
    names.add(event);
    requireIs(data ?? {}, events[event]);
  }
  expect([...names].sort()).toEqual(Object.keys(events).sort());
  rmSync(folder, { recursive: true });
});

test('what is not as its table says is found', () => {
  expect(() => requireIs({ status: 'nope' }, events.MIGRATION)).toThrow(/does not accept value 'nope'/);
  expect(() => requireIs({ pass: 1.5 }, events.MIGRATION_PASS)).toThrow(/expects uint64/);
  expect(() => requireIs({ x: 1 }, events.STOP)).toThrow(/unexpected/);
});
