/** The message log against the inspector's records of QEMU's captures, however the bytes are cut. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ByteSource } from '#lib/inspect/byte-source.js';
import { inspect, readContext } from '#lib/inspect/inspect.js';
import type { Direction } from '#lib/relay/faults.js';
import { MessageLog } from '#lib/relay/message-log.js';
import { encodeHeader } from '#lib/wire/encode.js';
import { type Capture, capture, captures } from '../../testing/captures.ts';
import { cutInto } from '../../testing/relay-peers.ts';

/** A log on a clock that stands still: all its lines, without the time. */
function log() {
  const lines: string[] = [];
  const messages = new MessageLog(
    (line) => lines.push(line),
    () => 0,
  );
  /** What was said of one direction, without its name. */
  const of = (connection: number, direction: Direction): string[] => {
    const prefix = `    0.000  ${connection} ${direction}  `;
    return lines.filter((line) => line.startsWith(prefix)).map((line) => line.slice(prefix.length));
  };
  return { messages, lines, of };
}

function sourceOf(bytes: Uint8Array): ByteSource {
  let at = 0;
  return {
    gzip: false,
    get position() {
      return at;
    },
    size: bytes.length,
    read: async (into) => {
      const part = bytes.subarray(at, at + into.length);
      into.set(part);
      at += part.length;
      return part.length;
    },
    close: async () => {},
  };
}

async function inspected(bytes: Uint8Array, main: Uint8Array): Promise<string[]> {
  const lines: string[] = [];
  const context = await readContext(sourceOf(main));
  await inspect(sourceOf(bytes), { context, onRecord: (line) => lines.push(line) });
  return lines;
}

/** Feeds all connections of a capture, one after the other, in pieces of these sizes. */
function play({ summary, fromSource, fromDestination }: Capture, sizes: readonly number[]) {
  const told = log();
  for (const { conn } of summary.connections) {
    told.messages.opened(conn);
    for (const [direction, bytes] of [
      ['s2d', fromSource(conn)],
      ['d2s', fromDestination(conn)],
    ] as const) {
      for (const piece of cutInto(bytes, sizes)) {
        // Bytes hold only during the call.
        const passing = piece.slice();
        told.messages.passed(conn, direction, passing);
        passing.fill(0xee);
      }
      told.messages.ended(conn, direction, bytes.length);
    }
  }
  told.messages.close();
  return told;
}

describe('says what the inspector says of the same bytes', () => {
  const whole = captures().filter(({ summary }) => summary.truncated.length === 0);

  test.each(whole.map((each) => [each.name, each] as const))('%s', async (_name, each) => {
    const { of } = play(each, [65_536, 1, 4000]);
    let main = each.fromSource(0);
    for (const { conn, kind } of each.summary.connections) {
      const bytes = each.fromSource(conn);
      expect(of(conn, 's2d').slice(0, -1)).toEqual(await inspected(bytes, main));
      expect(of(conn, 's2d').at(-1)).toBe(`ended after ${bytes.length} bytes`);
      const back = each.fromDestination(conn);
      const expected = back.length === 0 ? [] : await inspected(back, main);
      expect(of(conn, 'd2s').slice(0, -1)).toEqual(expected);
      if (kind === 'main') main = bytes;
    }
  });
});

test.each([
  ['a4-machine-none', 1],
  ['b6-postcopy-machine-none', 200],
])('however the bytes are cut, the lines are the same (property): %s', (name, min) => {
  const each = capture(name);
  const expected = play(each, [Number.MAX_SAFE_INTEGER]).lines;
  fc.assert(
    fc.property(fc.array(fc.integer({ min, max: 30_000 }), { minLength: 1, maxLength: 6 }), (sizes) => {
      expect(play(each, sizes).lines).toEqual(expected);
    }),
    { numRuns: 15 },
  );
});

describe('bytes that are not understood', () => {
  test('are told once, and left alone from there on', () => {
    const { messages, of } = log();
    const bytes = capture('a4-machine-none').fromSource(0).slice();
    bytes[200] ^= 0xff;
    messages.opened(0);
    for (const piece of cutInto(bytes, [100])) messages.passed(0, 's2d', piece);
    messages.ended(0, 's2d', bytes.length);
    const lines = of(0, 's2d');
    expect(lines.filter((line) => line.startsWith('not understood from here on: '))).toHaveLength(1);
    expect(lines.at(-1)).toBe(`ended after ${bytes.length} bytes`);
  });

  test('the other direction goes on', () => {
    const { messages, of } = log();
    messages.opened(0);
    messages.passed(0, 's2d', new Uint8Array(600).fill(0x41));
    messages.passed(0, 'd2s', Uint8Array.of(0, 2, 0, 4, 0, 0, 0, 1));
    expect(of(0, 's2d')).toEqual(['not understood from here on: it begins like no connection of a migration']);
    expect(of(0, 'd2s')).toEqual([expect.stringContaining('PONG 1')]);
  });

  test('a few of them, and then the end', () => {
    const { messages, of } = log();
    messages.opened(0);
    messages.passed(0, 's2d', Uint8Array.of(9, 9, 9));
    expect(of(0, 's2d')).toEqual([]);
    messages.ended(0, 's2d', 3);
    expect(of(0, 's2d')).toHaveLength(2);
  });

  test('a recovery whose first connection did not come this way', () => {
    const { messages, of } = log();
    messages.opened(0);
    messages.passed(0, 's2d', capture('d-recover').fromSource(1));
    expect(of(0, 's2d')).toEqual([
      'not understood from here on: it builds on a main connection that did not come this way',
    ]);
  });

  test('a stream that is cut says in which record', () => {
    const { messages, of } = log();
    messages.opened(0);
    messages.passed(0, 's2d', encodeHeader());
    messages.passed(0, 's2d', Uint8Array.of(7, 0, 0));
    messages.cut(0);
    expect(of(0, 's2d').at(-1)).toMatch(/not understood from here on: configuration at offset 8 .*ends/);
  });

  test('random bytes never throw (property)', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 8 }), fc.boolean(), (pieces, headed) => {
        const { messages } = log();
        messages.opened(0);
        if (headed) messages.passed(0, 's2d', encodeHeader());
        for (const piece of pieces) {
          messages.passed(0, 's2d', piece);
          messages.passed(0, 'd2s', piece);
        }
        messages.close();
      }),
    );
  });
});
