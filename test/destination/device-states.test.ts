/** Device sections put together from their pieces. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DeviceStates } from '#lib/destination/device-states.js';

test('bodies come out whole, whatever the pieces and their order between sections (property)', () => {
  const piece = fc.tuple(fc.constantFrom('guest-state', 'globalstate'), fc.uint8Array({ maxLength: 40 }));
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const states = new DeviceStates();
      const buffer = new Uint8Array(64); // reused for every piece, as the arena is
      const expected = new Map<string, number[]>();
      for (const [idstr, bytes] of pieces) {
        buffer.set(bytes);
        states.add(idstr, buffer.subarray(0, bytes.length));
        expected.set(idstr, [...(expected.get(idstr) ?? []), ...bytes]);
        buffer.fill(0xee);
      }
      for (const [idstr, bytes] of expected) expect([...states.take(idstr, 0)]).toEqual(bytes);
    }),
  );
});

test('a section that never came is GUEST_MISMATCH, and says where it was missed', () => {
  expect(() => new DeviceStates().take('guest-state', 321)).toThrow(
    expect.objectContaining({
      code: 'GUEST_MISMATCH',
      offset: 321,
      message: expect.stringContaining('guest-state'),
    }),
  );
});

test('a body is given once', () => {
  const states = new DeviceStates();
  states.add('guest-state', Uint8Array.of(1));
  expect(states.has('guest-state')).toBe(true);
  states.take('guest-state', 0);
  expect(states.has('guest-state')).toBe(false);
  expect(() => states.take('guest-state', 0)).toThrow(expect.objectContaining({ code: 'GUEST_MISMATCH' }));
});

test('more than 128 MiB is no device state', () => {
  const states = new DeviceStates();
  const piece = new Uint8Array(32 * 2 ** 20);
  for (let i = 0; i < 4; i += 1) states.add(`device${i}`, piece);
  expect(() => states.add('one-more', Uint8Array.of(1))).toThrow(expect.objectContaining({ code: 'STREAM_CORRUPT' }));
});
