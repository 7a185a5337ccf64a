/** The device state of a KVM guest as bytes: round trips, cuts at each byte, limits, and anything else. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MigrationError } from '#lib/errors.js';
import { CPUID_ENTRY_BYTES } from '#lib/guest/kvm/cpuid.js';
import {
  type DeviceState,
  decodeDeviceState,
  encodeDeviceState,
  type ProgramState,
  programKinds,
  type StateSection,
} from '#lib/guest/kvm/device-state.js';

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const bytes = fc.uint8Array({ maxLength: 40 });
const cpuid = fc
  .integer({ min: 0, max: 3 })
  .chain((entries) =>
    fc.uint8Array({ minLength: entries * CPUID_ENTRY_BYTES, maxLength: entries * CPUID_ENTRY_BYTES }),
  );

function sectionOf(vcpus: number): fc.Arbitrary<StateSection> {
  const name = fc.constantFrom('regs', 'mp-state', 'pit2', 'x');
  return fc.oneof(fc.record({ name, bytes }), fc.record({ vcpu: fc.integer({ min: 0, max: vcpus - 1 }), name, bytes }));
}

const states: fc.Arbitrary<DeviceState> = fc.integer({ min: 1, max: 4 }).chain((vcpus) =>
  fc.record({
    shape: fc.record({
      blocks: fc.array(fc.maxSafeNat(), { maxLength: 64 }),
      vcpus: fc.constant(vcpus),
      irqchip: fc.boolean(),
      tscKhz: u32,
      xsaveBytes: fc.integer({ min: 0, max: 2 ** 20 }),
      cpuid,
    }),
    program: fc.record<ProgramState>({
      kind: fc.constantFrom(...programKinds),
      filledEnd: u32,
      workEnd: u32,
      done: fc.array(fc.maxSafeNat(), { minLength: vcpus, maxLength: vcpus }),
    }),
    sections: fc.array(sectionOf(vcpus), { maxLength: 6 }),
  }),
);

const example: DeviceState = {
  shape: {
    blocks: [4096, 8192],
    vcpus: 2,
    irqchip: true,
    tscKhz: 2_000_000,
    xsaveBytes: 4096,
    cpuid: new Uint8Array(80),
  },
  program: { kind: 'writer', filledEnd: 0x20_0000, workEnd: 0x18_0000, done: [5, 2 ** 40] },
  sections: [
    { vcpu: 1, name: 'regs', bytes: Uint8Array.of(1, 2, 3) },
    { name: 'clock', bytes: new Uint8Array(0) },
  ],
};

function codeOf(decode: () => unknown): string {
  try {
    decode();
  } catch (error) {
    if (error instanceof MigrationError) return error.code;
    throw error;
  }
  return 'none';
}

test('any state is the same when it has been bytes (property)', () => {
  fc.assert(
    fc.property(states, (state) => {
      expect(decodeDeviceState(encodeDeviceState(state))).toEqual(state);
    }),
  );
});

test('cut at any byte it is refused, with where', () => {
  const whole = encodeDeviceState(example);
  for (let length = 0; length < whole.length; length += 1) {
    const cut = () => decodeDeviceState(whole.subarray(0, length));
    expect(cut).toThrow(expect.objectContaining({ code: 'GUEST_FAILED' }));
    expect(cut).toThrow(/ends within .+, at its byte \d+$/);
  }
});

test('bytes behind its end are refused', () => {
  const longer = Uint8Array.of(...encodeDeviceState(example), 0);
  expect(() => decodeDeviceState(longer)).toThrow('goes on for 1 bytes');
});

test('a byte changed anywhere, or none of it right, never ends in anything but a typed error (property)', () => {
  const whole = encodeDeviceState(example);
  const position = fc.integer({ min: 0, max: whole.length - 1 });
  fc.assert(
    fc.property(position, fc.integer({ min: 0, max: 255 }), (at, value) => {
      const changed = whole.slice();
      changed[at] = value;
      expect(codeOf(() => decodeDeviceState(changed))).toMatch(/^(none|GUEST_FAILED|GUEST_MISMATCH)$/);
    }),
    { numRuns: 1000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (garbage) => {
      expect(codeOf(() => decodeDeviceState(garbage))).toBe('GUEST_FAILED');
    }),
  );
});

test('another version is told with both numbers', () => {
  const newer = encodeDeviceState(example);
  new DataView(newer.buffer).setUint32(12, 2, true);
  expect(() => decodeDeviceState(newer)).toThrow(
    expect.objectContaining({ code: 'GUEST_MISMATCH', message: expect.stringContaining('version 2, here 1') }),
  );
});

describe('a length or number beyond what can be is refused before it is used', () => {
  /** Where the fields of `example` are. */
  const offsets = { blocks: 16, vcpus: 36, irqchip: 40, xsave: 48, cpuid: 52 } as const;

  test.each<[keyof typeof offsets, number, string]>([
    ['blocks', 65, 'as the number of RAM blocks, above 64'],
    ['vcpus', 17, 'as the number of vCPUs, above 16'],
    ['irqchip', 2, 'as the interrupt chips, above 1'],
    ['xsave', 2 ** 20 + 1, 'as the size of XSAVE'],
    ['cpuid', 2 ** 31, 'as the length of CPUID'],
    ['cpuid', 81, 'a part of an entry in CPUID'],
  ])('%s %i', (field, value, what) => {
    const changed = encodeDeviceState(example);
    new DataView(changed.buffer).setUint32(offsets[field], value, true);
    expect(() => decodeDeviceState(changed)).toThrow(what);
  });

  test('a section of a vCPU that there is not, or of no name', () => {
    const of = (section: StateSection) => encodeDeviceState({ ...example, sections: [section] });
    expect(() => decodeDeviceState(of({ vcpu: 2, name: 'regs', bytes: new Uint8Array(0) }))).toThrow('vCPU 2');
    expect(() => decodeDeviceState(of({ name: 'REGS\n', bytes: new Uint8Array(0) }))).toThrow('no proper name');
  });
});
