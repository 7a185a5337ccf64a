/** A multifd channel summed up. Recordings: inspect.test.ts. */
import { expect, test } from 'vitest';
import { MultifdSummary } from '#lib/inspect/multifd-summary.js';
import type { MultifdPacketRecord } from '#lib/wire/messages.js';

const packet: MultifdPacketRecord = {
  type: 'multifd-packet',
  sync: false,
  compression: 'none',
  packetNumber: 0,
  idstr: 'pc.ram',
  normal: [0, 4096],
  zero: [8192],
  pagesAllocated: 128,
  dataStart: 0,
  dataLength: 8192,
};

test('counts packets, synchronisations, pages and how they are compressed', () => {
  const summary = new MultifdSummary();
  summary.take({ type: 'multifd-opening', version: 1, uuid: 'u', channel: 3 }, 0);
  summary.take(packet, 64);
  summary.take({ ...packet, compression: 'zstd', normal: [0], zero: [] }, 100);
  summary.take({ ...packet, sync: true, idstr: '', normal: [], zero: [] }, 200);
  expect(summary.parts()).toMatchObject({
    version: 1,
    uuid: 'u',
    channel: 3,
    uses: [{ capability: 'multifd', offset: 0 }],
    packets: 3,
    syncs: 1,
    compressions: { none: 2, zstd: 1 },
    pages: { normal: 2, zero: 1, xbzrle: 0, compressed: 1 },
    blocks: [{ idstr: 'pc.ram', usedLength: null, distinct: 3 }],
  });
});

test('knows the blocks of the main connection', () => {
  const blocks = [{ index: 0, idstr: 'pc.ram', usedLength: 64 * 16_384 }];
  const context = {
    targetPageSize: 16_384,
    pageSizeSummary: 0,
    ignoreShared: false,
    mayHaveRuns: false,
    sections: [],
    blocks,
  };
  const summary = new MultifdSummary(context);
  summary.take({ ...packet, normal: [16_384], zero: [] }, 0);
  expect(summary.parts().blocks).toMatchObject([{ idstr: 'pc.ram', pages: 64, distinct: 1 }]);
});

test('stays small: names beyond the table are counted together', () => {
  const summary = new MultifdSummary();
  for (let i = 0; i < 2000; i++) summary.take({ ...packet, idstr: `block${i}` }, i);
  const { blocks } = summary.parts();
  expect(blocks.length).toBe(1025);
  expect(blocks.at(-1)).toMatchObject({ idstr: '(others)', records: { normal: 2 * (2000 - 1024) } });
});
