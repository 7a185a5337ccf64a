/**
 * The states of devices as they come: where each is and how long, and its bytes until the VM description
 * behind the stream names them.
 */
import type { SectionEntry } from '../wire/messages.js';
import { BoundedList } from './bounded-list.js';
import {
  type DeviceDescription,
  decodeFields,
  type Fields,
  parseVmDescription,
  type VmDescription,
  valueBudget,
} from './device-fields.js';

export interface DeviceInspection {
  readonly name: string;
  readonly instanceId: number;
  readonly versionId: number;
  readonly sectionId: number;
  /** Stream offset of its section, and of its state inside. */
  readonly offset: number;
  readonly bodyOffset: number;
  /** Bytes of its state. */
  readonly size: number;
  readonly packaged: boolean;
  /** Null without a VM description that fits; then `problem` says why. */
  readonly fields: Fields | null;
  readonly problem: string | null;
  /** Where there are no fields: the state in hexadecimal, null where it was too large to keep. */
  readonly data: string | null;
}

interface Kept {
  readonly device: Omit<DeviceInspection, 'fields' | 'problem' | 'data' | 'size'>;
  size: number;
  pieces: Uint8Array[] | undefined;
}

/** Largest state whose bytes are kept, and how many bytes all together. */
const MAX_BODY_BYTES = 4 * 2 ** 20;
const MAX_KEPT_BYTES = 64 * 2 ** 20;

const GLOBAL_STATE = 'globalstate';
const LENGTH_BYTES = 4;

export class DeviceTally {
  readonly #kept = new BoundedList<Kept>();
  #open: Kept | undefined;
  #keptBytes = 0;
  #description: VmDescription | undefined;
  #undescribed = 'the stream has no VM description';

  begin(section: SectionEntry, offset: number, bodyOffset: number, packaged: boolean): void {
    const { id, idstr, instanceId, versionId } = section;
    const device = { name: idstr, instanceId, versionId, sectionId: id, offset, bodyOffset, packaged };
    this.#open = { device, size: 0, pieces: [] };
  }

  /** The next bytes of the state that is open; they are copied. Nothing where none is. */
  data(bytes: Uint8Array, start: number, length: number): void {
    const open = this.#open;
    if (open === undefined) return;
    open.size += length;
    if (open.pieces === undefined) return;
    if (open.size > MAX_BODY_BYTES || this.#keptBytes + length > MAX_KEPT_BYTES) {
      for (const piece of open.pieces) this.#keptBytes -= piece.length;
      open.pieces = undefined;
      return;
    }
    if (length === 0) return;
    open.pieces.push(bytes.slice(start, start + length));
    this.#keptBytes += length;
  }

  /** The state that is open has come to its footer. */
  end(): void {
    if (this.#open !== undefined) this.#kept.add(this.#open);
    this.#open = undefined;
  }

  describe(json: string): void {
    this.#description = parseVmDescription(json);
    this.#undescribed = 'the VM description is not JSON of the known form';
  }

  /** Page size and number of devices of the VM description; null without one. */
  get vmDescription(): { readonly pageSize: number | null; readonly devices: number } | null {
    if (this.#description === undefined) return null;
    return { pageSize: this.#description.pageSize, devices: this.#description.devices.length };
  }

  /** How many devices there were too many to list. */
  get omitted(): number {
    return this.#kept.omitted;
  }

  devices(): DeviceInspection[] {
    const described = new Map(
      this.#description?.devices.map((device) => [key(device.name, device.instance_id), device]),
    );
    const budget = valueBudget();
    return this.#kept.items.map(({ device, size, pieces }) => {
      const body = pieces === undefined ? null : Buffer.concat(pieces);
      const description = described.get(key(device.name, device.instanceId));
      const named = this.#named(body, description, budget);
      if ('fields' in named) return { ...device, size, problem: null, data: null, ...named };
      return { ...device, size, fields: null, ...named, data: body?.toString('hex') ?? null };
    });
  }

  /** What the guest was doing when it stopped, as QEMU's globalstate section has it; null without one. */
  runState(): string | null {
    const kept = this.#kept.items.find(({ device }) => device.name === GLOBAL_STATE);
    const body = kept?.pieces === undefined ? undefined : Buffer.concat(kept.pieces);
    if (body === undefined || body.length < LENGTH_BYTES) return null;
    const text = body.subarray(LENGTH_BYTES, LENGTH_BYTES + body.readUInt32BE());
    const end = text.indexOf(0);
    return text.toString('latin1', 0, end < 0 ? text.length : end).replace(/[^ -~]/g, '?');
  }

  #named(
    body: Uint8Array | null,
    description: DeviceDescription | undefined,
    budget: ReturnType<typeof valueBudget>,
  ): { readonly fields: Fields } | { readonly problem: string } {
    if (this.#description === undefined) return { problem: this.#undescribed };
    if (description === undefined) return { problem: 'the VM description does not have it' };
    if (body === null) return { problem: 'the state is too large to be kept' };
    return decodeFields(body, description, budget);
  }
}

const key = (name: string, instanceId: number): string => `${instanceId} ${name}`;
