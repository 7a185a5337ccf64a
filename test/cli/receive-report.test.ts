/** What `postcopy receive` says of a machine that came. */
import { expect, test } from 'vitest';
import { awaitingLook, receiveLook, receiveReport, receiveText } from '#lib/cli/receive-report.js';
import type { ReceivedMachineInfo } from '#lib/machine/machine-saver.js';
import { destinationDone } from '../../testing/demo-parts.ts';

const { info } = destinationDone;
const machine: ReceivedMachineInfo = {
  machine: 'pc-i440fx-7.2',
  runState: 'running',
  blocks: [
    { idstr: 'pc.ram', length: 2 ** 20, sha256: 'ab'.repeat(32) },
    { idstr: 'pc.bios', length: 2 ** 18, sha256: 'cd'.repeat(32) },
  ],
  dataBytes: 8192,
  deviceStateBytes: 12_345,
  devices: 40,
  directory: '/tmp/vm',
};
const none = { count: 0, pausedMs: 0, longestMs: 0 };
const report = receiveReport(info, machine, { totalTimeMs: 500, saveTimeMs: 20 }, none);

test('the JSON has the migration and the machine, and null for what is not known', () => {
  expect(report).toMatchObject({
    ...{ status: info.status, postcopy: info.postcopy, ram: info.ram, faults: info.faults },
    ...{ machine: 'pc-i440fx-7.2', runState: 'running', blocks: machine.blocks, dataBytes: 8192 },
    ...{ deviceStateBytes: 12_345, devices: 40, totalTimeMs: 500, saveTimeMs: 20, saved: '/tmp/vm' },
    bytesPerSecond: info.ram.transferred * 2,
  });
  const unknown = receiveReport(
    { ...info, postcopyBlocktime: undefined },
    { ...machine, runState: undefined, directory: undefined },
    { totalTimeMs: 0, saveTimeMs: 0 },
    none,
  );
  expect(unknown).toMatchObject({ runState: null, saved: null, postcopyBlocktime: null, bytesPerSecond: 0 });
  expect(JSON.parse(JSON.stringify(unknown))).toEqual(unknown);
});

test('the lines name the machine, each block, and where it is', () => {
  const lines = receiveText(report).split('\n');
  expect(lines[0]).toMatch(/^machine +pc-i440fx-7\.2, running when it was stopped; by (pre|post)copy$/);
  expect(lines).toContainEqual(expect.stringMatching(/^RAM +1\.3 MiB in 2 blocks, 8\.0 KiB of it not zero$/));
  expect(lines).toContainEqual(expect.stringMatching(/^saved +\/tmp\/vm$/));
  for (const { idstr, length, sha256 } of machine.blocks) {
    expect(lines).toContainEqual(expect.stringMatching(new RegExp(`^block +${sha256}  ${idstr}  ${length}$`)));
  }
});

test('recoveries are told where there were any', () => {
  expect('recoveries' in report).toBe(false);
  const times = { totalTimeMs: 500, saveTimeMs: 20 };
  const recovered = receiveReport(info, machine, times, { count: 2, pausedMs: 1500, longestMs: 1000 });
  expect(recovered.recoveries).toEqual({ count: 2, pausedMs: 1500 });
  expect(receiveText(recovered)).toMatch(/^recovered +2 times, paused for 1\.5 s in all$/m);
});

test('the line while it runs; its mark is another when anything has moved', () => {
  const still = { stream: 0, reading: 0 };
  const look = receiveLook(info, { done: 4096, total: 8192 }, { stream: 2 ** 20, reading: 512 });
  expect(look.text).toMatch(
    /^completed: 78 pages received .*; 1\.0 MiB\/s; RAM read: 4\.0 KiB of 8\.0 KiB \(50 %\), 512 B\/s, 8 s left$/,
  );
  expect(receiveLook(info, { done: 4096, total: 8192 }, still).mark).toBe(look.mark);
  expect(receiveLook(info, { done: 8192, total: 8192 }, still).mark).not.toBe(look.mark);
});

test('the line while nobody has connected', () => {
  expect(awaitingLook('unix:/m', 61_000).text).toBe('waiting for a source at unix:/m for 1 min 01 s');
});
