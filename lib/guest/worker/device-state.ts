/**
 * The device state of a worker guest as bytes: which program, over which RAM, and where each vCPU is. Pure.
 *
 * Numbers are big-endian. `PCWG`, u16 format; u8 version of V8's serialization; name of the program behind its u8
 * length, u32 version of it; u16 blocks, each its idstr behind its u8 length and its u64 size; u16 vCPUs, each a u8 of
 * {@link vcpuKinds} and, of a stopped one, its state behind its u32 length. Nothing follows.
 */
import { MigrationError } from '../../errors.js';
import { concatenate } from '../../memory/bytes.js';
import { Cursor, SHORTAGE } from '../../wire/cursor.js';

const MAGIC = 'PCWG';
const FORMAT = 1;

/** It is sent while the guest stands still. Bytes, all vCPUs together. */
export const MAX_DEVICE_STATE_BYTES = 8 * 1024 * 1024;
export const MAX_VCPUS = 64;

/** Where a vCPU is; the number on the wire is the place in this list. */
const vcpuKinds = ['new', 'stopped', 'halted'] as const;

export type VcpuState =
  /** Its program has not begun. */
  | { readonly kind: 'new' }
  /** At a checkpoint, with this state as `v8.serialize` wrote it. */
  | { readonly kind: 'stopped'; readonly state: Uint8Array }
  /** Its program has returned. */
  | { readonly kind: 'halted' };

/** What both sides must have the same of, but for `serialization`, where the destination may be newer. */
export interface GuestShape {
  readonly program: string;
  readonly version: number;
  readonly blocks: readonly { readonly idstr: string; readonly size: number }[];
  readonly vcpus: number;
  /** Version of V8's serialization, which comes with that of Node. */
  readonly serialization: number;
}

export interface WorkerDeviceState {
  readonly shape: GuestShape;
  /** As many as the shape says. */
  readonly vcpus: readonly VcpuState[];
}

function uint(bytes: 1 | 2 | 4, value: number): Uint8Array {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
}

function uint64(value: number): Uint8Array {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64BE(BigInt(value));
  return buffer;
}

const name = (text: string): Uint8Array[] => [uint(1, text.length), Buffer.from(text, 'latin1')];

function encodeVcpu(vcpu: VcpuState): Uint8Array[] {
  const kind = uint(1, vcpuKinds.indexOf(vcpu.kind));
  return vcpu.kind === 'stopped' ? [kind, uint(4, vcpu.state.length), vcpu.state] : [kind];
}

/** Throws GUEST_FAILED where it is more than {@link MAX_DEVICE_STATE_BYTES}. */
export function encodeDeviceState({ shape, vcpus }: WorkerDeviceState): Uint8Array {
  const bytes = concatenate([
    Buffer.from(MAGIC, 'latin1'),
    uint(2, FORMAT),
    uint(1, shape.serialization),
    ...name(shape.program),
    uint(4, shape.version),
    uint(2, shape.blocks.length),
    ...shape.blocks.flatMap(({ idstr, size }) => [...name(idstr), uint64(size)]),
    uint(2, vcpus.length),
    ...vcpus.flatMap(encodeVcpu),
  ]);
  if (bytes.length <= MAX_DEVICE_STATE_BYTES) return bytes;
  throw new MigrationError('GUEST_FAILED', `the states of the vCPUs are ${bytes.length} bytes`, {
    hint: `keep them under ${MAX_DEVICE_STATE_BYTES} bytes: what is large belongs in RAM`,
  });
}

function damaged(what: string): MigrationError {
  return new MigrationError('GUEST_FAILED', `the device state of the worker guest ${what}`, {
    hint: 'start the destination with the same version of postcopy; record the stream and report it if it is',
  });
}

function decodeName(cursor: Cursor, what: string): string {
  const text = cursor.idstr();
  if (text === undefined) throw damaged(`has a name of ${what} that is not printable`);
  return text;
}

function decodeBlock(cursor: Cursor): GuestShape['blocks'][number] {
  const idstr = decodeName(cursor, 'a block');
  const size = cursor.u64();
  if (!Number.isSafeInteger(size)) throw damaged(`has a block "${idstr}" of 2^53 bytes or more`);
  return { idstr, size };
}

function decodeVcpu(cursor: Cursor): VcpuState {
  const code = cursor.u8();
  const kind = vcpuKinds[code];
  if (kind === undefined) throw damaged(`has a vCPU of kind ${code}`);
  return kind === 'stopped' ? { kind, state: cursor.copy(cursor.u32()) } : { kind };
}

function decodeFields(cursor: Cursor): WorkerDeviceState {
  const magic = cursor.name(MAGIC.length);
  if (magic !== MAGIC) throw damaged('does not begin as one');
  const format = cursor.u16();
  if (format !== FORMAT) throw damaged(`has the format ${format}, and this version reads ${FORMAT}`);
  const serialization = cursor.u8();
  const program = decodeName(cursor, 'its program');
  const version = cursor.u32();
  const blocks = Array.from({ length: cursor.u16() }, () => decodeBlock(cursor));
  const count = cursor.u16();
  if (count > MAX_VCPUS) throw damaged(`has ${count} vCPUs, above ${MAX_VCPUS}`);
  const vcpus = Array.from({ length: count }, () => decodeVcpu(cursor));
  if (cursor.left > 0) throw damaged(`has ${cursor.left} bytes too many`);
  return { shape: { program, version, blocks, vcpus: count, serialization }, vcpus };
}

/** Throws GUEST_FAILED for bytes that are none. The vCPUs' states are not looked into. */
export function decodeDeviceState(bytes: Uint8Array): WorkerDeviceState {
  if (bytes.length > MAX_DEVICE_STATE_BYTES) throw damaged(`is ${bytes.length} bytes long`);
  const cursor = new Cursor();
  cursor.reset(bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.length);
  try {
    return decodeFields(cursor);
  } catch (error) {
    throw error === SHORTAGE ? damaged(`is cut at byte ${bytes.length}`) : error;
  }
}

/** How a shape reads in a message, by what it is compared by. */
const described: Readonly<Record<keyof GuestShape, (shape: GuestShape) => string>> = {
  program: ({ program }) => `program "${program}"`,
  version: ({ program, version }) => `version ${version} of "${program}"`,
  vcpus: ({ vcpus }) => `${vcpus} vCPUs`,
  blocks: ({ blocks }) => `RAM ${blocks.map(({ idstr, size }) => `${idstr} of ${size} bytes`).join(', ')}`,
  serialization: ({ serialization }) => `version ${serialization} of V8's serialization`,
};

/** Throws GUEST_MISMATCH, naming the first thing that differs, where `there` can't go on as `here`. */
export function checkShape(there: GuestShape, here: GuestShape): void {
  for (const [field, describe] of Object.entries(described)) {
    const isOlder = field === 'serialization' && there.serialization < here.serialization;
    if (isOlder || describe(there) === describe(here)) continue;
    throw new MigrationError(
      'GUEST_MISMATCH',
      `the guest comes with ${describe(there)}, and here is ${describe(here)}`,
      {
        hint: 'give both sides the same program, vCPUs and blocks, and the destination no older Node',
      },
    );
  }
}
