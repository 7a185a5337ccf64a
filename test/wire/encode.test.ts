/** The encoders: exact bytes, and what they refuse. */
import { describe, expect, test } from 'vitest';
import * as encode from '#lib/wire/encode.js';
import { RamFlag } from '#lib/wire/protocol.js';

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** What an encoder that writes into a view wrote, checked to leave all else alone. */
function written(write: (view: DataView, at: number) => number): string {
  const bytes = new Uint8Array(400).fill(0xcc);
  const at = 3;
  const end = write(new DataView(bytes.buffer), at);
  expect(bytes.subarray(0, at).every((byte) => byte === 0xcc)).toBe(true);
  expect(bytes.subarray(end).every((byte) => byte === 0xcc)).toBe(true);
  return hex(bytes.subarray(at, end));
}

const A = encode.encodeIdstr('A');

// Layouts spelled out by hand, so that a number wrong in the tables is not right on both sides.
const layouts: [string, string, string][] = [
  ['header', hex(encode.encodeHeader()), '5145564d 00000003'],
  ['configuration', hex(encode.encodeConfiguration({ machine: 'none' })), '07 00000004 6e6f6e65'],
  [
    'configuration with uuid',
    hex(encode.encodeConfiguration({ machine: 'q', uuid: '00112233-4455-6677-8899-AABBCCDDEEFF' })),
    '07 00000001 71 05 12 636f6e66696775726174696f6e2f75756964 00000001 00112233445566778899aabbccddeeff',
  ],
  [
    'configuration with capabilities',
    hex(encode.encodeConfiguration({ machine: 'q', capabilities: ['a', 'bc'] })),
    '07 00000001 71 05 1a 636f6e66696775726174696f6e2f6361706162696c6974696573 00000001 00000002 0161 026263',
  ],
  [
    'configuration with target page bits',
    hex(encode.encodeConfiguration({ machine: 'q', targetPageBits: 12 })),
    '07 00000001 71 05 1e 636f6e66696775726174696f6e2f7461726765742d706167652d62697473 00000001 0000000c',
  ],
  [
    'START',
    hex(encode.encodeSectionStart({ type: 'START', id: 2, idstr: 'ram', instanceId: 1, versionId: 4 })),
    '01 00000002 03 72616d 00000001 00000004',
  ],
  [
    'FULL',
    hex(encode.encodeSectionStart({ type: 'FULL', id: 0xffffffff, idstr: 'x', instanceId: 0, versionId: 0 })),
    '04 ffffffff 01 78 00000000 00000000',
  ],
  ['PART', hex(encode.encodeSectionPart('PART', 2)), '02 00000002'],
  ['END', hex(encode.encodeSectionPart('END', 2)), '03 00000002'],
  ['footer', hex(encode.encodeFooter(2)), '7e 00000002'],
  ['EOF', hex(encode.encodeEof()), '00'],
  ['vmdescription', hex(encode.encodeVmDescription('"é"')), '06 00000004 22c3a922'],
  ['self-sized body', hex(encode.encodeSelfSizedBody(Uint8Array.of(9, 8))), '00000002 0908'],
  ['no blocks', hex(encode.encodeRamBlockList([])), '0000000000000004'],
  [
    'block list',
    hex(
      encode.encodeRamBlockList([
        { idstr: 'A', usedLength: 0x1000 },
        { idstr: 'B', usedLength: 0x100200000, pageSize: 0x200000, address: 0x100000000 },
      ]),
    ),
    '0000000100201004 01 41 0000000000001000 01 42 0000000100200000 0000000000200000 0000000100000000',
  ],
  ['EOS', hex(encode.encodeRamEos()), '0000000000000010'],
  ['OPEN_RETURN_PATH', hex(encode.encodeOpenReturnPath()), '08 0001 0000'],
  ['PING', hex(encode.encodePing(0xdeadbeef)), '08 0002 0004 deadbeef'],
  ['POSTCOPY_ADVISE, bare', hex(encode.encodePostcopyAdvise()), '08 0003 0000'],
  [
    'POSTCOPY_ADVISE',
    hex(encode.encodePostcopyAdvise({ pageSizeSummary: 0x201000, targetPageSize: 4096 })),
    '08 0003 0010 0000000000201000 0000000000001000',
  ],
  ['POSTCOPY_LISTEN', hex(encode.encodePostcopyListen()), '08 0004 0000'],
  ['POSTCOPY_RUN', hex(encode.encodePostcopyRun()), '08 0005 0000'],
  [
    'POSTCOPY_RAM_DISCARD',
    hex(encode.encodeRamDiscard('A', [{ start: 0x1000, length: 0x2000 }])),
    '08 0006 0014 00 01 41 00 0000000000001000 0000000000002000',
  ],
  ['PACKAGED', hex(encode.encodePackaged(Uint8Array.of(1, 2))), '08 0007 0004 00000002 0102'],
  ['ENABLE_COLO', hex(encode.encodeEnableColo()), '08 0008 0000'],
  ['POSTCOPY_RESUME', hex(encode.encodePostcopyResume()), '08 0009 0000'],
  ['RECV_BITMAP', hex(encode.encodeRecvBitmap('A')), '08 000a 0002 01 41'],
  ['SWITCHOVER_START', hex(encode.encodeSwitchoverStart()), '08 000b 0000'],
  ['SHUT', hex(encode.encodeShut(1)), '0001 0004 00000001'],
  ['PONG', hex(encode.encodePong(0x42)), '0002 0004 00000042'],
  [
    'REQ_PAGES_ID',
    written((view, at) => encode.encodeReqPages(view, at, 0x1_2345_6000, 0x1000, A)),
    '0003 000e 0000000123456000 00001000 01 41',
  ],
  [
    'REQ_PAGES',
    written((view, at) => encode.encodeReqPages(view, at, 0xffff_f000, 0x200000)),
    '0004 000c 00000000fffff000 00200000',
  ],
  [
    'RECV_BITMAP reply',
    hex(encode.encodeRecvBitmapReply('A', Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0x80))),
    '0005 0002 01 41 0000000000000008 0100000000000080 0123456789abcdef',
  ],
  ['RESUME_ACK', hex(encode.encodeResumeAck()), '0006 0004 00000001'],
  ['SWITCHOVER_ACK', hex(encode.encodeSwitchoverAck()), '0007 0000'],
  [
    'page header',
    written((view, at) => encode.encodePageHeader(view, at, 0x1_ffff_f000, RamFlag.PAGE, A)),
    '00000001fffff008 01 41',
  ],
  [
    'page header with CONTINUE',
    written((view, at) => encode.encodePageHeader(view, at, 0xc000_0000, RamFlag.ZERO | RamFlag.CONTINUE, undefined)),
    '00000000c0000022',
  ],
  [
    'page header at 2^52',
    written((view, at) =>
      encode.encodePageHeader(view, at, 2 ** 52, RamFlag.COMPRESS_PAGE | RamFlag.CONTINUE, undefined),
    ),
    '0010000000000120',
  ],
];

test.each(layouts)('%s', (_name, encoded, layout) => {
  expect(encoded).toBe(layout.replaceAll(' ', ''));
});

test('the longest names fill what is said to be the most', () => {
  const longest = encode.encodeIdstr('n'.repeat(255));
  const lengthOf = (write: (view: DataView, at: number) => number) => written(write).length / 2;
  expect(lengthOf((view, at) => encode.encodePageHeader(view, at, 0, RamFlag.PAGE, longest))).toBe(
    encode.MAX_PAGE_HEADER_BYTES,
  );
  expect(lengthOf((view, at) => encode.encodeReqPages(view, at, 0, 1, longest))).toBe(encode.MAX_REQ_PAGES_BYTES);
});

describe('what cannot be encoded throws RangeError', () => {
  const thirteen = Array.from({ length: 13 }, (_, i) => ({ start: i * 8192, length: 4096 }));
  const refused: [string, () => unknown][] = [
    ['an empty name', () => encode.encodeIdstr('')],
    ['a name of 256 bytes', () => encode.encodeIdstr('n'.repeat(256))],
    ['a name that is not ASCII', () => encode.encodeIdstr('é')],
    ['a name with a control character', () => encode.encodeIdstr('a\n')],
    ['13 ranges', () => encode.encodeRamDiscard('A', thirteen)],
    ['a negative PING', () => encode.encodePing(-1)],
    ['a PING of 33 bits', () => encode.encodePing(2 ** 32)],
    ['half a PONG', () => encode.encodePong(0.5)],
    ['a length that is not whole pages', () => encode.encodeRamBlockList([{ idstr: 'A', usedLength: 512 }])],
    ['a block without length', () => encode.encodeRamBlockList([{ idstr: 'A', usedLength: 0 }])],
    ['a range beyond 2^53', () => encode.encodeRamDiscard('A', [{ start: 2 ** 53, length: 4096 }])],
    ['9 target page bits', () => encode.encodeConfiguration({ machine: 'q', targetPageBits: 9 })],
    ['a uuid that is none', () => encode.encodeConfiguration({ machine: 'q', uuid: '0011' })],
    ['a bitmap of 7 bytes', () => encode.encodeRecvBitmapReply('A', new Uint8Array(7))],
    [
      'a page of no block',
      () => encode.encodePageHeader(new DataView(new ArrayBuffer(99)), 0, 0, RamFlag.PAGE, undefined),
    ],
  ];
  test.each(refused)('%s', (_name, act) => {
    expect(act).toThrow(RangeError);
  });

  test('12 ranges are one command', () => {
    expect(encode.encodeRamDiscard('A', thirteen.slice(1)).length).toBe(5 + 4 + 12 * 16);
  });
});
