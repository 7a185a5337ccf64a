/** Those who watch the migrations of one process, as the options wish: what they see, and that none of them stays. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Watchers } from '#lib/cli/watchers.js';
import { listen, migrate, StressGuest } from '#lib/index.js';

let folder: string;
let told: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  told = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = (options: Parameters<typeof Watchers.open>[0]) =>
  Watchers.open(options, 'a test', (text) => void told.push(text));

test('nothing is wished: nobody watches', async () => {
  const watchers = await open({});
  expect(watchers.showBlocktime).toBe(false);
  await watchers.close();
  expect([told, readdirSync(folder)]).toEqual([[], []]);
});

test('where one of them cannot be, the others are gone', async () => {
  const opening = open({ metrics: `unix:${folder}/metrics`, report: `${folder}/none/report.html` });
  await expect(opening).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  expect(told[0]).toContain(`${folder}/metrics`);
  expect(existsSync(`${folder}/metrics`)).toBe(false);
});

test('both sides of a migration are in the report, to their ends', async () => {
  const watchers = await open({ report: `${folder}/report.html` });
  expect(watchers.showBlocktime).toBe(true);
  const source = StressGuest.empty({ memory: 1024 * 1024 });
  const room = StressGuest.empty({ memory: 1024 * 1024 });
  const incoming = await listen(`unix:${folder}/m`, { guest: room });
  void watchers.incoming(incoming, () => room.stats);
  const outgoing = await migrate(source, incoming.uri);
  await watchers.outgoing(outgoing, () => source.stats);
  await incoming.finished;
  await watchers.close();
  const page = readFileSync(`${folder}/report.html`, 'utf8');
  expect(page.match(/"text":"completed"/g)).toHaveLength(2);
  await room.stop();
  for (const guest of [source, room]) guest.close();
});
