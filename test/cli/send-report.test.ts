/** What `postcopy send` says of a machine that went. */
import { expect, test } from 'vitest';
import { connectingLook, loadLook, sendLook, sendReport, sendText } from '#lib/cli/send-report.js';
import type { Manifest } from '#lib/machine/manifest.js';
import { sourceDone } from '../../testing/demo-parts.ts';

const { info } = sourceDone;
const none = { count: 0, pausedMs: 0, longestMs: 0 };
const manifest = { configuration: { machine: 'pc-i440fx-7.2' }, runState: 'paused' } as Manifest;

test('the JSON', () => {
  const { status, ram, downtime, totalTime, setupTime } = info;
  expect(sendReport(info, manifest, true, none)).toEqual({
    ...{ status, ram, postcopy: true, machine: 'pc-i440fx-7.2', runState: 'paused' },
    ...{ downtimeMs: downtime, totalTimeMs: totalTime, setupTimeMs: setupTime },
  });
});

test('the lines', () => {
  const lines = sendText(sendReport(info, manifest, false, none)).split('\n');
  expect(lines[0]).toMatch(/^machine +pc-i440fx-7\.2, now paused at the destination; by precopy$/);
  expect(lines).toContainEqual(expect.stringMatching(/^RAM +256 KiB: 70 pages, 8 zero pages$/));
  expect(lines).toContainEqual(expect.stringMatching(/^on the wire +293 KiB, 1\.1 MiB\/s$/));
});

test('recoveries are told where there were any', () => {
  const recovered = sendReport(info, manifest, true, { count: 1, pausedMs: 20, longestMs: 20 });
  expect(recovered.recoveries).toEqual({ count: 1, pausedMs: 20 });
  expect(sendText(recovered)).toMatch(/^recovered +1 time, paused for 20 ms in all$/m);
});

test('the line while it runs tells how long it will take, and what was asked for', () => {
  const ram = { ...info.ram, remaining: 10_000_000, mbps: 8, postcopyRequests: 0 };
  expect(sendLook({ ...info, ram }).text).toMatch(/ to go, 10 s left$/);
  expect(sendLook({ ...info, ram: { ...ram, mbps: 0, postcopyRequests: 12 } }).text).toMatch(
    / to go; 12 pages were asked for$/,
  );
});

test('the line while it connects', () => {
  expect(connectingLook('tcp:far:1', 11_500)).toMatchObject({ text: 'connecting to tcp:far:1 for 11 s' });
  expect(connectingLook('tcp:far:1', 1).mark).toBe(connectingLook('tcp:far:1', 9999).mark);
});

test('the line while the files are read', () => {
  expect(loadLook(2 ** 28, 2 ** 30, 2 ** 26)).toMatchObject({
    text: 'reading RAM: 256 MiB of 1.0 GiB (25 %), 64 MiB/s, 12 s left',
    mark: String(2 ** 28),
  });
});
