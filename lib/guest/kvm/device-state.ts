/**
 * The device state of a KVM guest as bytes: what machine it is of, what its programme is about, and the kernel's
 * structures by name (docs/kvm-guest.md). Pure.
 *
 * It comes from a peer: every length and count is checked against a limit and against what is there before it is
 * used. What the bytes of a structure mean is the kernel's to judge.
 */
import { MigrationError } from '../../errors.js';
import { CPUID_ENTRY_BYTES } from './cpuid.js';
import { MAX_VCPUS } from './memory-map.js';

const MAGIC = 'kvmguest';
export const DEVICE_STATE_VERSION = 1;
const MAX_BLOCKS = 64;
const MAX_CPUID_ENTRIES = 1024;
const MAX_SECTION_BYTES = 2 ** 20;
const MAX_SECTIONS = 32 * (MAX_VCPUS + 1);
const NAME = /^[a-z0-9-]{1,32}$/;

/** The machine itself: another one can take the state only where all of it is the same. */
export interface MachineShape {
  /** Bytes of each RAM block. */
  readonly blocks: readonly number[];
  readonly vcpus: number;
  readonly irqchip: boolean;
  readonly tscKhz: number;
  /** Bytes of an XSAVE area; 0 where the host has none. */
  readonly xsaveBytes: number;
  /** Of vCPU 0: `struct kvm_cpuid_entry2`, one behind the other. */
  readonly cpuid: Uint8Array;
}

export const programKinds = ['image', 'writer', 'latency'] as const;
export type ProgramKind = (typeof programKinds)[number];

export interface ProgramState {
  readonly kind: ProgramKind;
  /** Guest addresses of the memory that is filled at first, and of what of it is worked on; 0 of an image. */
  readonly filledEnd: number;
  readonly workEnd: number;
  /** Pages that each vCPU has written or touched. */
  readonly done: readonly number[];
}

/** One kernel structure, of a vCPU or of the whole machine. */
export interface StateSection {
  /** Absent: of the whole machine. */
  readonly vcpu?: number;
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface DeviceState {
  readonly shape: MachineShape;
  readonly program: ProgramState;
  readonly sections: readonly StateSection[];
}

/** Of a section of the whole machine, in place of a vCPU's number. */
const WHOLE_MACHINE = 0xffff_ffff;

// --- writing ------------------------------------------------------------------------------------

class Writer {
  readonly #parts: Uint8Array[] = [];

  u32(value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.#parts.push(bytes);
  }

  u64(value: number): void {
    this.u32(value % 2 ** 32);
    this.u32(Math.floor(value / 2 ** 32));
  }

  /** Behind its length. */
  bytes(bytes: Uint8Array): void {
    this.u32(bytes.length);
    this.#parts.push(bytes);
  }

  text(text: string): void {
    this.bytes(new TextEncoder().encode(text));
  }

  done(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#parts));
  }
}

export function encodeDeviceState({ shape, program, sections }: DeviceState): Uint8Array {
  const writer = new Writer();
  writer.text(MAGIC);
  writer.u32(DEVICE_STATE_VERSION);
  writer.u32(shape.blocks.length);
  for (const size of shape.blocks) writer.u64(size);
  for (const value of [shape.vcpus, shape.irqchip ? 1 : 0, shape.tscKhz, shape.xsaveBytes]) writer.u32(value);
  writer.bytes(shape.cpuid);
  writer.u32(programKinds.indexOf(program.kind));
  writer.u32(program.filledEnd);
  writer.u32(program.workEnd);
  for (const done of program.done) writer.u64(done);
  writer.u32(sections.length);
  for (const { vcpu, name, bytes } of sections) {
    writer.u32(vcpu ?? WHOLE_MACHINE);
    writer.text(name);
    writer.bytes(bytes);
  }
  return writer.done();
}

// --- reading ------------------------------------------------------------------------------------

function invalid(what: string, offset: number): MigrationError {
  return new MigrationError('GUEST_FAILED', `the device state of the KVM guest ${what}, at its byte ${offset}`, {
    hint: 'it is no device state of a KVM guest, or was damaged on the way; check what is at the other end',
  });
}

class Reader {
  #at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(what: string): never {
    throw invalid(what, this.#at);
  }

  #skip(length: number, what: string): number {
    if (length > this.#bytes.length - this.#at) this.fail(`ends within ${what}`);
    const at = this.#at;
    this.#at += length;
    return at;
  }

  u32(what: string, max = 0xffff_ffff): number {
    const value = this.#view.getUint32(this.#skip(4, what), true);
    if (value > max) this.fail(`has ${value} as ${what}, above ${max}`);
    return value;
  }

  u64(what: string): number {
    const low = this.u32(what);
    const value = low + this.u32(what) * 2 ** 32;
    if (!Number.isSafeInteger(value)) this.fail(`has ${value} as ${what}`);
    return value;
  }

  bytes(what: string, max: number): Uint8Array {
    const length = this.u32(`the length of ${what}`, max);
    const at = this.#skip(length, what);
    return this.#bytes.slice(at, at + length);
  }

  text(what: string, max: number): string {
    return Buffer.from(this.bytes(what, max)).toString('latin1');
  }

  end(): void {
    if (this.#at !== this.#bytes.length) this.fail(`goes on for ${this.#bytes.length - this.#at} bytes`);
  }
}

function readShape(reader: Reader): MachineShape {
  const blocks = reader.u32('the number of RAM blocks', MAX_BLOCKS);
  const sizes = Array.from({ length: blocks }, (_, index) => reader.u64(`the size of RAM block ${index}`));
  const vcpus = reader.u32('the number of vCPUs', MAX_VCPUS);
  const irqchip = reader.u32('the interrupt chips', 1) === 1;
  const tscKhz = reader.u32('the frequency of the TSC');
  const xsaveBytes = reader.u32('the size of XSAVE', MAX_SECTION_BYTES);
  const cpuid = reader.bytes('CPUID', MAX_CPUID_ENTRIES * CPUID_ENTRY_BYTES);
  if (cpuid.length % CPUID_ENTRY_BYTES !== 0) reader.fail('has a part of an entry in CPUID');
  return { blocks: sizes, vcpus, irqchip, tscKhz, xsaveBytes, cpuid };
}

function readProgram(reader: Reader, vcpus: number): ProgramState {
  const kind = programKinds[reader.u32('the programme', programKinds.length - 1)];
  const filledEnd = reader.u32('the end of filled memory');
  const workEnd = reader.u32('the end of worked memory');
  const done = Array.from({ length: vcpus }, (_, vcpu) => reader.u64(`the progress of vCPU ${vcpu}`));
  return { kind, filledEnd, workEnd, done };
}

function readSection(reader: Reader, vcpus: number): StateSection {
  const owner = reader.u32('the vCPU of a section');
  if (owner !== WHOLE_MACHINE && owner >= vcpus) reader.fail(`has a section of vCPU ${owner}`);
  const name = reader.text('the name of a section', 32);
  if (!NAME.test(name)) reader.fail('has a section of no proper name');
  const bytes = reader.bytes(`section ${name}`, MAX_SECTION_BYTES);
  return owner === WHOLE_MACHINE ? { name, bytes } : { vcpu: owner, name, bytes };
}

/**
 * Throws GUEST_FAILED for bytes that are no device state, with where; GUEST_MISMATCH for one of another version.
 */
export function decodeDeviceState(bytes: Uint8Array): DeviceState {
  const reader = new Reader(bytes);
  if (reader.text('the magic', MAGIC.length) !== MAGIC) reader.fail('does not begin with its magic');
  const version = reader.u32('the version');
  if (version !== DEVICE_STATE_VERSION) {
    throw new MigrationError(
      'GUEST_MISMATCH',
      `the device state of the KVM guest is of version ${version}, here ${DEVICE_STATE_VERSION}`,
      { hint: 'run the same version of postcopy at both sides' },
    );
  }
  const shape = readShape(reader);
  const program = readProgram(reader, shape.vcpus);
  const count = reader.u32('the number of sections', MAX_SECTIONS);
  const sections = Array.from({ length: count }, () => readSection(reader, shape.vcpus));
  reader.end();
  return { shape, program, sections };
}
