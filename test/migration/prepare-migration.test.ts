/** A migration that was prepared: it begins with the threads that wait, once, and nothing is left where it does not. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { listen } from '#lib/migration/listen.js';
import { type MigrateOptions, migrate } from '#lib/migration/migrate.js';
import { prepareMigration } from '#lib/migration/prepare-migration.js';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { countThreads } from '../../testing/native-thread.ts';
import { PatternGuest } from '../../testing/pattern-guest.ts';

const SEED = 5;
const names = ['mig/src/main', 'mig/src/rp'];
const counts = () => names.map((name) => countThreads(name));

let folder: string;
let leaks: ReturnType<typeof handleLeaks>;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-prepared-'));
  leaks = handleLeaks();
});
afterEach(() => {
  expect(counts()).toEqual([0, 0]);
  expect(leaks()).toEqual({});
  rmSync(folder, { recursive: true });
});

const makeGuest = () => new PatternGuest([{ idstr: 'pc.ram', pages: 100 }]);

test.each<[string, MigrateOptions]>([
  ['postcopy', { capabilities: { postcopyRam: true }, postcopyAfterPasses: 0 }],
  ['precopy, which has no return path thread', {}],
])('%s', async (_what, options) => {
  using source = makeGuest().fill(SEED);
  using target = makeGuest();
  const prepared = await prepareMigration();
  expect(counts()).toEqual([1, 1]);
  const { capabilities = {} } = options;
  const incoming = await listen(`unix:${join(folder, 'm.sock')}`, { guest: target, capabilities });
  const outgoing = await migrate(source, incoming.uri, { ...options, prepared });
  expect(Math.max(...counts())).toBe(1); // and no others
  await Promise.all([outgoing.finished, incoming.finished]);
  expect(target.wrongPages(SEED)).toEqual([]);
  await expect(migrate(source, incoming.uri, { ...options, prepared })).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  await prepared.close();
});

test('where nobody listens it can be given to another try', async () => {
  using source = makeGuest().fill(SEED);
  using target = makeGuest();
  await using prepared = await prepareMigration();
  const uri = `unix:${join(folder, 'm.sock')}`;
  await expect(migrate(source, uri, { prepared })).rejects.toMatchObject({ code: 'CONNECT_REFUSED' });
  expect(counts()).toEqual([1, 1]);
  const incoming = await listen(uri, { guest: target });
  const outgoing = await migrate(source, uri, { prepared });
  await Promise.all([outgoing.finished, incoming.finished]);
  expect(target.wrongPages(SEED)).toEqual([]);
});

test('closed while a migration tries to connect, its threads end with the try', async () => {
  const prepared = await prepareMigration();
  const threads = prepared.take();
  await prepared.close();
  expect(counts()).toEqual([1, 1]);
  await prepared.giveBack(threads);
});

test('without one, a try that comes to nothing leaves no thread', async () => {
  using source = makeGuest();
  await expect(migrate(source, `unix:${join(folder, 'm.sock')}`)).rejects.toMatchObject({ code: 'CONNECT_REFUSED' });
});

test('closed, it is of no use', async () => {
  using source = makeGuest();
  const prepared = await prepareMigration();
  await prepared.close();
  await prepared.close();
  await expect(migrate(source, 'unix:/nowhere', { prepared })).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
});

test.each(['own', 'any machine'])('a destination of %s has rehearsed when it listens', async (machine) => {
  using target = makeGuest();
  const incoming = await listen('tcp:127.0.0.1:0', {
    guest: machine === 'own' ? target : { receive: () => target },
    capabilities: { postcopyRam: true },
  });
  expect(incoming.rehearsals).toEqual([undefined, undefined, undefined]);
  incoming.abort();
  await expect(incoming.finished).rejects.toMatchObject({ code: 'CANCELLED' });
});
