/** The worker guest's device state: what goes in comes out, and nothing else is taken. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkShape,
  decodeDeviceState,
  encodeDeviceState,
  type GuestShape,
  MAX_DEVICE_STATE_BYTES,
  MAX_VCPUS,
  type VcpuState,
  type WorkerDeviceState,
} from '#lib/guest/worker/device-state.js';
import { MigrationError } from '#lib/index.js';

const name = fc.string({
  unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
  minLength: 1,
  maxLength: 255,
});
const vcpu: fc.Arbitrary<VcpuState> = fc.oneof(
  fc.constant<VcpuState>({ kind: 'new' }),
  fc.constant<VcpuState>({ kind: 'halted' }),
  fc.uint8Array({ maxLength: 200 }).map((state): VcpuState => ({ kind: 'stopped', state })),
);
const deviceState: fc.Arbitrary<WorkerDeviceState> = fc
  .record({
    program: name,
    version: fc.nat(2 ** 32 - 1),
    blocks: fc.array(fc.record({ idstr: name, size: fc.maxSafeNat() }), { maxLength: 4 }),
    serialization: fc.nat(255),
    vcpus: fc.array(vcpu, { maxLength: MAX_VCPUS }),
  })
  .map(({ vcpus, ...shape }) => ({ shape: { ...shape, vcpus: vcpus.length }, vcpus }));

const shape: GuestShape = {
  program: 'kv',
  version: 3,
  blocks: [{ idstr: 'kv.table', size: 4096 }],
  vcpus: 2,
  serialization: 15,
};
const example: WorkerDeviceState = {
  shape,
  vcpus: [{ kind: 'stopped', state: Uint8Array.of(1, 2, 3) }, { kind: 'new' }],
};

const guestFailed = (words: string) =>
  expect.objectContaining({ code: 'GUEST_FAILED', message: expect.stringContaining(words) });

test('what was encoded is decoded', () => {
  fc.assert(
    fc.property(deviceState, (state) => {
      expect(decodeDeviceState(encodeDeviceState(state))).toEqual(state);
    }),
  );
});

test('stands on the wire as its file says', () => {
  expect(Buffer.from(encodeDeviceState(example)).toString('hex')).toBe(
    ['50435747 0001 0f', '02 6b76 00000003', '0001 08 6b762e7461626c65 0000000000001000', '0002 01 00000003 010203 00']
      .join('')
      .replaceAll(' ', ''),
  );
});

test('cut anywhere it is refused, and so is a byte too many', () => {
  fc.assert(
    fc.property(deviceState, fc.nat(), (state, at) => {
      const bytes = encodeDeviceState(state);
      expect(() => decodeDeviceState(bytes.subarray(0, at % bytes.length))).toThrow(guestFailed(''));
      expect(() => decodeDeviceState(Buffer.concat([bytes, Buffer.of(0)]))).toThrow(guestFailed('1 bytes too many'));
    }),
  );
});

test('whatever else comes is decoded or refused, and what is decoded is what came', () => {
  const damaged = fc
    .tuple(deviceState, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }))
    .map(([state, edits]) => {
      const bytes = encodeDeviceState(state);
      for (const [at, value] of edits) bytes[at % bytes.length] = value;
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array()), (bytes) => {
      try {
        expect(encodeDeviceState(decodeDeviceState(bytes))).toEqual(new Uint8Array(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(MigrationError);
      }
    }),
  );
});

test.each<[string, (bytes: Buffer) => void]>([
  ['does not begin as one', (bytes) => bytes.write('PCWX')],
  ['has the format 2', (bytes) => bytes.writeUInt16BE(2, 4)],
  ['a name of its program that is not printable', (bytes) => bytes.writeUInt8(7, 8)],
  ['has a block "kv.table" of 2^53 bytes or more', (bytes) => bytes.writeUInt16BE(0x20, 25)],
  ['has a vCPU of kind 3', (bytes) => bytes.writeUInt8(3, bytes.length - 1)],
  [`has 65 vCPUs, above ${MAX_VCPUS}`, (bytes) => bytes.writeUInt16BE(65, 33)],
])('one that %s is refused by that', (words, damage) => {
  const bytes = Buffer.from(encodeDeviceState(example));
  damage(bytes);
  expect(() => decodeDeviceState(bytes)).toThrow(guestFailed(words));
});

test('one that is too large is refused at both sides', () => {
  const state = new Uint8Array(MAX_DEVICE_STATE_BYTES);
  expect(() => encodeDeviceState({ shape, vcpus: [{ kind: 'stopped', state }, { kind: 'new' }] })).toThrow(
    guestFailed(''),
  );
  expect(() => decodeDeviceState(new Uint8Array(MAX_DEVICE_STATE_BYTES + 1))).toThrow(guestFailed('bytes long'));
});

describe('a shape', () => {
  test('fits the same, and a newer Node', () => {
    checkShape(shape, structuredClone(shape));
    checkShape(shape, { ...shape, serialization: 16 });
  });

  test.each<[Partial<GuestShape>, string]>([
    [{ program: 'other' }, 'program "kv", and here is program "other"'],
    [{ version: 4 }, 'version 3 of "kv", and here is version 4 of "kv"'],
    [{ vcpus: 1 }, '2 vCPUs, and here is 1 vCPUs'],
    [{ blocks: [] }, 'RAM kv.table of 4096 bytes, and here is RAM '],
    [
      { blocks: [{ idstr: 'kv.table', size: 8192 }] },
      'RAM kv.table of 4096 bytes, and here is RAM kv.table of 8192 bytes',
    ],
    [{ serialization: 14 }, "version 15 of V8's serialization, and here is version 14"],
  ])('with %j here does not fit', (here, words) => {
    expect(() => checkShape(shape, { ...shape, ...here })).toThrow(
      expect.objectContaining({ code: 'GUEST_MISMATCH', message: expect.stringContaining(words) }),
    );
  });
});
