/** The section bodies of our own machine: there and back, and what is refused. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeSelfSizedBody } from '#lib/wire/encode.js';
import { WireError } from '#lib/wire/errors.js';
import {
  decodeGlobalStateBody,
  decodeGuestStateBody,
  decodeRunState,
  encodeGlobalStateBody,
  GLOBAL_STATE_SECTION,
  GUEST_STATE_SECTION,
  RAM_SECTION,
} from '#lib/wire/machine.js';

test('sections have different numbers and names', () => {
  const sections = [RAM_SECTION, GUEST_STATE_SECTION, GLOBAL_STATE_SECTION];
  expect(new Set(sections.map(({ id }) => id)).size).toBe(3);
  expect(sections.map(({ idstr }) => idstr)).toEqual(['ram', 'guest-state', 'globalstate']);
});

describe('guest-state', () => {
  test('any state comes back, from any place in a buffer (property)', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 50 }), (state, at) => {
        const body = encodeSelfSizedBody(state);
        const buffer = new Uint8Array(at + body.length + 7).fill(0xcc);
        buffer.set(body, at);
        expect([...decodeGuestStateBody(buffer.subarray(at, at + body.length), 0)]).toEqual([...state]);
      }),
    );
  });

  test('a body of another length than it says is refused, with its offset (property)', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (body) => {
        const says = body.length < 4 ? -1 : new DataView(body.buffer, body.byteOffset).getUint32(0);
        fc.pre(says !== body.length - 4);
        expect(() => decodeGuestStateBody(body, 99)).toThrow(
          expect.objectContaining({ name: 'WireError', code: 'BAD_LENGTH', offset: 99, record: 'guest-state' }),
        );
      }),
    );
  });
});

describe('globalstate', () => {
  test.each(['running', 'paused'] as const)('%s comes back, laid out as documented', (state) => {
    const body = encodeGlobalStateBody(state);
    const expected = new Uint8Array(104);
    expected[3] = state.length + 1;
    expected.set(new TextEncoder().encode(state), 4);
    expect([...body]).toEqual([...expected]);
    expect(decodeGlobalStateBody(body, 0)).toBe(state);
  });

  const changed = (change: (body: Uint8Array) => void): Uint8Array => {
    const body = encodeGlobalStateBody('running');
    change(body);
    return body;
  };

  test.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array()],
    ['a byte too few', encodeGlobalStateBody('running').subarray(0, 103)],
    ['a byte too many', new Uint8Array([...encodeGlobalStateBody('running'), 0])],
    ['a state we do not know', changed((body) => body.set(new TextEncoder().encode('suspended\0'), 4))],
    ['no closing zero', changed((body) => body.fill(0x78, 11))],
    ['no name', changed((body) => body.fill(0, 4))],
    ['bytes that are no text', changed((body) => body.fill(0xff, 4, 8))],
    ['a length that is not the name’s', changed((body) => body.fill(0xff, 0, 4))],
    ['a length that leaves no zero', changed((body) => body.fill(7, 3, 4))],
  ])('%s is refused, with its offset', (_what, body) => {
    expect(() => decodeGlobalStateBody(body, 77)).toThrow(WireError);
    expect(() => decodeGlobalStateBody(body, 77)).toThrow(
      expect.objectContaining({ code: 'BAD_VALUE', offset: 77, record: 'globalstate' }),
    );
  });
});

describe('globalstate of any machine', () => {
  test.each(['running', 'paused', 'suspended', 'io-error'])('%s is read, whatever follows', (state) => {
    const body = new Uint8Array(140).fill(0x55, 104);
    body[3] = state.length + 1;
    body.set(new TextEncoder().encode(state), 4);
    expect(decodeRunState(body, 0)).toBe(state);
  });

  test.each<[string, Uint8Array]>([
    ['too short', new Uint8Array(103).fill(0x61, 4, 10)],
    ['no name', new Uint8Array(104)],
    ['no closing zero', new Uint8Array(104).fill(0x61)],
  ])('%s is refused, with its offset', (_what, body) => {
    expect(() => decodeRunState(body, 77)).toThrow(expect.objectContaining({ code: 'BAD_VALUE', offset: 77 }));
  });
});
