/** A stream summed up: runs folded, sections with their parts, lists that don't grow. Recordings: inspect.test.ts. */
import { expect, test } from 'vitest';
import { recordName, StreamSummary } from '#lib/inspect/stream-summary.js';
import type { CommandRecord, StreamRecord } from '#lib/wire/messages.js';

const nothing = new Uint8Array(0);

/** Gives records of ten bytes each, one behind the other. */
function summed(records: readonly StreamRecord[], packaged: (index: number) => boolean = () => false) {
  const summary = new StreamSummary();
  records.forEach((record, i) => {
    summary.take(record, 10 * i, 10 * (i + 1), packaged(i), nothing);
  });
  return summary;
}

const ping = (value: number): CommandRecord => ({ type: 'command', command: 'PING', value });
const discard = (idstr: string, ...lengths: number[]): CommandRecord => ({
  type: 'command',
  command: 'POSTCOPY_RAM_DISCARD',
  idstr,
  ranges: lengths.map((length) => ({ start: 0, length })),
});

test('folds discards, and pings that count up, but not across the edge of a package', () => {
  const records = [ping(1), ping(2), ping(2), discard('a', 1, 2), discard('b', 4), discard('a', 8), ping(9), ping(10)];
  const { commands, discards } = summed(records, (i) => i === 7).parts();
  expect(commands).toEqual([
    { command: 'PING', offset: 0, packaged: false, count: 2, value: 1, lastValue: 2 },
    { command: 'PING', offset: 20, packaged: false, count: 1, value: 2 },
    {
      command: 'POSTCOPY_RAM_DISCARD',
      offset: 30,
      packaged: false,
      count: 3,
      ranges: 4,
      bytes: 15,
      blocks: ['a', 'b'],
    },
    { command: 'PING', offset: 60, packaged: false, count: 1, value: 9 },
    { command: 'PING', offset: 70, packaged: true, count: 1, value: 10 },
  ]);
  expect(discards).toEqual({ commands: 3, ranges: 4, bytes: 15 });
});

test('a section is counted with all its records and bytes, and told while it is open', () => {
  const ram = { id: 2, idstr: 'ram', instanceId: 0, versionId: 4 };
  const summary = summed([
    { type: 'section-start', kind: 'START', ...ram },
    { type: 'ram-eos' },
    { type: 'section-end', id: 2, idstr: 'ram' },
    { type: 'section-part', kind: 'PART', id: 2, idstr: 'ram' },
  ]);
  expect(summary.within()).toBe('section 2 (ram), from offset 30');
  summary.take({ type: 'section-end', id: 2, idstr: 'ram' }, 40, 45, false, nothing);
  expect(summary.within()).toBeNull();
  expect(summary.parts().sections).toEqual([
    { ...ram, offset: 0, packaged: false, records: { START: 1, PART: 1 }, bytes: 45 },
  ]);
});

test('a recovery goes on with what the context has', () => {
  const section = { id: 2, idstr: 'ram', instanceId: 0, versionId: 4 };
  const blocks = [{ index: 0, idstr: 'pc.ram', usedLength: 8192 }];
  const context = {
    targetPageSize: 4096,
    pageSizeSummary: 4096,
    ignoreShared: false,
    mayHaveRuns: false,
    sections: [section],
    blocks,
  };
  const summary = new StreamSummary(context);
  summary.take({ type: 'section-part', kind: 'PART', id: 2, idstr: 'ram' }, 0, 5, false, nothing);
  const page = { type: 'page', kind: 'xbzrle', block: blocks[0], offset: 4096, fill: 0, dataStart: 0, dataLength: 3 };
  summary.page(page as Extract<StreamRecord, { type: 'page' }>, 77);
  expect(summary.parts()).toMatchObject({
    version: null,
    sections: [{ idstr: 'ram', versionId: 4 }],
    blocks: [{ idstr: 'pc.ram', pages: 2, distinct: 1 }],
    uses: [{ capability: 'xbzrle', offset: 77 }],
  });
});

test('a package lists its records with their offsets', () => {
  const records: StreamRecord[] = [
    { type: 'command', command: 'PACKAGED', length: 30 },
    { type: 'command', command: 'POSTCOPY_LISTEN' },
    { type: 'section-start', kind: 'FULL', id: 5, idstr: 'timer', instanceId: 0, versionId: 1 },
    { type: 'section-end', id: 5, idstr: 'timer' },
    ping(4),
  ];
  const { packages, devices } = summed(records, (i) => i > 0 && i < 4).parts();
  expect(packages).toEqual([
    {
      offset: 9,
      length: 30,
      records: [
        { offset: 10, record: 'POSTCOPY_LISTEN' },
        { offset: 20, record: 'FULL timer' },
      ],
      omitted: 0,
    },
  ]);
  expect(devices).toMatchObject([{ name: 'timer', offset: 20, bodyOffset: 30, size: 0, packaged: true }]);
});

test('stays small: commands beyond the list are only counted', () => {
  const summary = new StreamSummary();
  for (let i = 0; i < 10_050; i++) summary.take(ping(7), i, i + 1, false, nothing);
  const { commands, omitted, counts } = summary.parts();
  expect([commands.length, omitted.commands, counts.PING]).toEqual([10_000, 50, 10_050]);
});

test('the configuration gives the page size, and the capabilities it names', () => {
  const configuration = { type: 'configuration', machine: 'm', capabilities: ['x-ignore-shared'] } as const;
  const blocks = [{ index: 0, idstr: 'pc.ram', usedLength: 65_536 }];
  const { uses, blocks: found } = summed([
    { ...configuration, targetPageBits: 14, uuid: 'u' },
    { type: 'ram-blocks', total: 65_536, blocks },
  ]).parts();
  expect(uses.map(({ capability }) => capability)).toEqual(['x-ignore-shared', 'validate-uuid']);
  expect(found).toMatchObject([{ pages: 4 }]);
});

test('records have the names of the protocol', () => {
  expect(recordName(ping(1))).toBe('PING');
  expect(recordName({ type: 'section-part', kind: 'END', id: 2, idstr: 'ram' })).toBe('END');
  expect(recordName({ type: 'eof' })).toBe('EOF');
});
