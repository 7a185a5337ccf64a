/** A line for each record; neighbouring pages share one. */
import { expect, test } from 'vitest';
import { RecordLog } from '#lib/inspect/record-log.js';
import type { MultifdRecord, ReturnPathMessageRecord, StreamRecord } from '#lib/wire/messages.js';

function lines(records: readonly (readonly [StreamRecord | MultifdRecord | ReturnPathMessageRecord, boolean?])[]) {
  const written: string[] = [];
  const log = new RecordLog((line) => written.push(line), 4096);
  records.forEach(([record, packaged], i) => {
    log.take(record, 16 * i, packaged);
  });
  log.end();
  return written;
}

function page(kind: 'normal' | 'zero', idstr: string, offset: number): [StreamRecord] {
  const block = { index: 0, idstr, usedLength: 2 ** 20 };
  return [{ type: 'page', kind, block, offset, fill: 0, dataStart: 0, dataLength: 0 }];
}

test('pages that follow each other share a line', () => {
  expect(
    lines([
      page('normal', 'a', 0),
      page('normal', 'a', 4096),
      page('normal', 'a', 12_288),
      page('zero', 'a', 16_384),
      page('zero', 'b', 20_480),
      [{ type: 'ram-eos' }],
    ]),
  ).toEqual([
    '         0x0  normal a 0x0, 2 pages',
    '        0x20  normal a 0x3000, 1 page',
    '        0x30  zero a 0x4000, 1 page',
    '        0x40  zero b 0x5000, 1 page',
    '        0x50  EOS',
  ]);
});

test('what is in a package is set in', () => {
  expect(lines([[{ type: 'command', command: 'POSTCOPY_LISTEN' }, true]])).toEqual(['         0x0    POSTCOPY_LISTEN']);
});

const named = { idstr: 'timer', id: 3 };
const packet = { type: 'multifd-packet', pagesAllocated: 128, dataStart: 0, dataLength: 0 } as const;

test.each([
  [{ type: 'header', version: 3 }, 'HEADER version 3'],
  [
    { type: 'configuration', machine: 'm', capabilities: ['x'], targetPageBits: 12, uuid: 'u' },
    'CONFIGURATION m +x target-page-bits=12 uuid=u',
  ],
  [
    { type: 'section-start', kind: 'FULL', ...named, instanceId: 1, versionId: 2 },
    'FULL timer id=3 instance=1 version=2',
  ],
  [{ type: 'section-part', kind: 'PART', ...named }, 'PART timer id=3'],
  [{ type: 'section-end', ...named }, 'FOOTER timer id=3'],
  [{ type: 'ram-blocks', total: 8192, blocks: [] }, 'MEM_SIZE 0 blocks, 8192 bytes'],
  [
    { type: 'device-data', ...named, dataStart: 0, dataLength: 7, last: false },
    'device data timer, 7 bytes, to be continued',
  ],
  [{ type: 'vmdescription', json: '{}' }, 'VMDESCRIPTION 2 characters'],
  [{ type: 'multifd-flush' }, 'MULTIFD_FLUSH'],
  [{ type: 'command', command: 'PING', value: 66 }, 'PING 66'],
  [{ type: 'command', command: 'POSTCOPY_ADVISE' }, 'POSTCOPY_ADVISE'],
  [
    { type: 'command', command: 'POSTCOPY_ADVISE', pageSizeSummary: 4096, targetPageSize: 4096 },
    'POSTCOPY_ADVISE page sizes 0x1000, target page 4096',
  ],
  [
    { type: 'command', command: 'POSTCOPY_RAM_DISCARD', idstr: 'a', ranges: [{ start: 4096, length: 8192 }] },
    'POSTCOPY_RAM_DISCARD a 0x1000+0x2000',
  ],
  [{ type: 'command', command: 'PACKAGED', length: 9 }, 'PACKAGED 9 bytes'],
  [{ type: 'command', command: 'RECV_BITMAP', idstr: 'a' }, 'RECV_BITMAP a'],
  [{ type: 'SHUT', value: 0 }, 'SHUT 0'],
  [{ type: 'SWITCHOVER_ACK' }, 'SWITCHOVER_ACK'],
  [{ type: 'REQ_PAGES', start: 4096, length: 8192 }, 'REQ_PAGES 0x1000+8192'],
  [{ type: 'REQ_PAGES', start: 4096, length: 8192, idstr: 'a' }, 'REQ_PAGES_ID a 0x1000+8192'],
  [{ type: 'RECV_BITMAP', idstr: 'a', bitmap: new Uint8Array(8) }, 'RECV_BITMAP a, 8 bytes'],
  [{ type: 'multifd-opening', version: 1, uuid: 'u', channel: 2 }, 'OPENING version=1 uuid=u channel=2'],
  [
    { ...packet, sync: false, compression: 'zstd', packetNumber: 5, idstr: 'a', normal: [0, 4096], zero: [] },
    'PACKET 5 a, 2 normal, 0 zero, zstd',
  ],
  [{ ...packet, sync: true, compression: 'none', packetNumber: 6, idstr: '', normal: [], zero: [] }, 'PACKET 6 sync'],
] as const satisfies readonly (readonly [StreamRecord | MultifdRecord | ReturnPathMessageRecord, string])[])(
  '%j',
  (record, line) => {
    expect(lines([[record]])).toEqual([`         0x0  ${line}`]);
  },
);
