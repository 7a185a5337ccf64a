/** What looks at migrations: figures in any case, the map only where somebody looks, and a report of how it ended. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Model } from '#lib/dashboard/model.js';
import { Observer } from '#lib/dashboard/observer.js';
import { sourceSnapshot } from '../../testing/snapshots.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const modelIn = (path: string): Model =>
  JSON.parse(/id="model">(.*?)<\/script>/s.exec(readFileSync(path, 'utf8'))?.[1] ?? '') as Model;

test('without anybody looking there is no map but the last; the report has it, and how it ended', async () => {
  const report = join(folder, 'r.html');
  const observer = await Observer.open({ title: 'a test', report });
  expect(modelIn(report).runs).toEqual([]); // it can be written
  const maps: boolean[] = [];
  const run = observer.begin([
    ({ map }) => {
      maps.push(map);
      return sourceSnapshot({ map: map ? [] : null });
    },
    async () => undefined,
  ]);
  await expect.poll(() => maps.length, { timeout: 20_000 }).toBeGreaterThan(2);
  await run.end({ isSuccess: false, text: 'failed: the peer has gone' });
  await observer.close();
  expect(maps.filter((map) => map)).toHaveLength(1);
  expect(maps.at(-1)).toBe(true);
  const [kept] = modelIn(report).runs;
  expect(kept).toMatchObject({ outcome: { isSuccess: false }, source: { snapshot: { map: [] } }, destination: null });
  expect(kept.source?.samples.length).toBe(maps.length);
});

test('a report that can’t be written is an error before anything begins', async () => {
  const report = join(folder, 'none', 'r.html');
  await expect(Observer.open({ title: 'a test', report })).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
});

test('a side that fails to answer does not end the looking at the other', async () => {
  const observer = await Observer.open({ title: 'a test' });
  const run = observer.begin([
    () => {
      throw new Error('gone');
    },
    () => sourceSnapshot({}),
  ]);
  await run.end({ isSuccess: true, text: 'completed' });
  expect(observer.model.runs[0].source?.samples.length).toBeGreaterThan(0);
  await observer.close();
});
