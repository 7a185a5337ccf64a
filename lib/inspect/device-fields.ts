/**
 * The fields of a device's state, named and sized by the VM description that QEMU sends behind the stream.
 *
 * Pure. The description and the body come from a peer: whatever does not fit the other is shown as bytes,
 * and the values of one stream are bounded by a budget.
 *
 * A description's field has a name, a type and a size; `array_len` stands for that many elements in a row,
 * `index` for one element of an array whose elements differ. A struct has fields and subsections of its own.
 * In the body a subsection is `u8 05 | str name | u32 version | its fields`; a field is just its bytes.
 */
import { SectionType } from '../wire/protocol.js';
import { asciiToString } from '../wire/text.js';

/**
 * Numbers up to 2^53 as such, larger ones and buffers as hexadecimal strings (`0x…`; buffers without it),
 * structs and subsections by the names of their fields.
 */
export type FieldValue = number | string | boolean | readonly FieldValue[] | { readonly [name: string]: FieldValue };

export type Fields = { readonly [name: string]: FieldValue };

interface FieldDescription {
  readonly name: string;
  readonly type: string;
  readonly size: number;
  readonly array_len?: number;
  readonly index?: number;
  readonly struct?: StructDescription;
}

interface StructDescription {
  readonly fields: readonly unknown[];
  readonly subsections?: unknown;
}

export interface DeviceDescription extends StructDescription {
  readonly name: string;
  readonly instance_id: number;
  readonly version?: number;
}

export interface VmDescription {
  readonly pageSize: number | null;
  readonly devices: readonly DeviceDescription[];
}

/** How many values may still be made, over all devices of a stream. */
export interface ValueBudget {
  left: number;
}

export const valueBudget = (): ValueBudget => ({ left: 2_000_000 });

const MAX_DEPTH = 32;
const MAX_WHOLE_BYTES = 8;

/** Thrown where body and description differ. */
class Mismatch extends Error {}

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The description, or undefined where it is not JSON of the known form. Unknown members are left out. */
export function parseVmDescription(json: string): VmDescription | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (!isObject(parsed) || !Array.isArray(parsed.devices)) return undefined;
  const devices = parsed.devices.filter(
    (device): device is DeviceDescription =>
      isObject(device) &&
      typeof device.name === 'string' &&
      Number.isInteger(device.instance_id) &&
      Array.isArray(device.fields),
  );
  return { pageSize: isSize(parsed.page_size) ? parsed.page_size : null, devices };
}

/**
 * The fields of `body`, or in words why they are not those of the description.
 * @param budget shared by all devices of a stream
 */
export function decodeFields(
  body: Uint8Array,
  description: DeviceDescription,
  budget: ValueBudget,
): { readonly fields: Fields } | { readonly problem: string } {
  try {
    return { fields: new FieldReader(body, budget).struct(description, 0, body.length, 0) };
  } catch (error) {
    if (error instanceof Mismatch) return { problem: error.message };
    throw error;
  }
}

class FieldReader {
  readonly #body: Uint8Array;
  readonly #view: DataView;
  readonly #budget: ValueBudget;

  constructor(body: Uint8Array, budget: ValueBudget) {
    this.#body = body;
    this.#view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    this.#budget = budget;
  }

  /** The struct that fills body[start, end) exactly. */
  struct(description: StructDescription, start: number, end: number, depth: number): Fields {
    if (depth > MAX_DEPTH) throw new Mismatch(`the description nests deeper than ${MAX_DEPTH}`);
    const found = new Members();
    const at = this.#members(description, start, end, depth, found);
    if (at !== end) throw new Mismatch(`the description has ${at - start} bytes, the state ${end - start}`);
    return found.fields;
  }

  /** Reads fields, then subsections; returns where they end. */
  #members(description: StructDescription, start: number, end: number, depth: number, found: Members): number {
    let at = start;
    for (const field of description.fields) {
      this.#charge();
      const known = fieldOf(field);
      if (known === undefined) throw new Mismatch('a field of the description has no name, type or size');
      const bytes = known.size * (known.array_len ?? 1);
      if (bytes > end - at) throw new Mismatch(`field ${known.name} reaches beyond the end of the state`);
      found.add(known.name, this.#field(known, at, depth), known.index);
      at += bytes;
    }
    const subsections = Array.isArray(description.subsections) ? description.subsections : [];
    for (const subsection of subsections) at = this.#subsection(subsection, at, end, depth, found);
    return at;
  }

  #subsection(subsection: unknown, start: number, end: number, depth: number, found: Members): number {
    if (!isObject(subsection) || typeof subsection.vmsd_name !== 'string' || !Array.isArray(subsection.fields)) {
      throw new Mismatch('a subsection of the description has no name or fields');
    }
    this.#charge();
    if (depth > MAX_DEPTH) throw new Mismatch(`the description nests deeper than ${MAX_DEPTH}`);
    const name = subsection.vmsd_name;
    const bodyAt = start + 2 + name.length + 4;
    const stands =
      bodyAt <= end &&
      this.#body[start] === SectionType.SUBSECTION &&
      this.#body[start + 1] === name.length &&
      asciiToString(this.#body, start + 2, start + 2 + name.length) === name;
    if (!stands) throw new Mismatch(`subsection ${name} is not where the description has it`);
    const inner = new Members();
    const { fields, subsections } = subsection;
    const at = this.#members({ fields, subsections }, bodyAt, end, depth + 1, inner);
    found.add(name, inner.fields);
    return at;
  }

  #field(field: FieldDescription, at: number, depth: number): FieldValue {
    if (field.array_len === undefined) return this.#element(field, at, depth);
    // Elements without bytes say nothing, whatever their number.
    if (field.size === 0) return [];
    const elements: FieldValue[] = [];
    for (let i = 0; i < field.array_len; i++) elements.push(this.#element(field, at + i * field.size, depth));
    return elements;
  }

  #element(field: FieldDescription, at: number, depth: number): FieldValue {
    this.#charge();
    const end = at + field.size;
    if (field.struct === undefined) return this.#scalar(field.type, at, field.size);
    try {
      return this.struct(field.struct, at, end, depth + 1);
    } catch (error) {
      // Lists are described by their last element alone, so their bytes don't fit; what is around them does.
      if (error instanceof Mismatch) return this.#hex(at, field.size);
      throw error;
    }
  }

  #charge(): void {
    if (this.#budget.left <= 0) throw new Mismatch('the description has too many values');
    this.#budget.left--;
  }

  #scalar(type: string, at: number, size: number): FieldValue {
    const whole = /^(u?)int\d+\b/.exec(type);
    if (whole !== null || type === 'timer') return this.#whole(at, size, whole?.[1] !== 'u');
    if (type === 'bool' && size === 1) return this.#body[at] !== 0;
    return this.#hex(at, size);
  }

  #whole(at: number, size: number, signed: boolean): FieldValue {
    if (size === 0 || size > MAX_WHOLE_BYTES) return this.#hex(at, size);
    let value = 0n;
    for (let i = 0; i < size; i++) value = (value << 8n) | BigInt(this.#view.getUint8(at + i));
    const exact = signed ? BigInt.asIntN(8 * size, value) : value;
    const number = Number(exact);
    return Number.isSafeInteger(number) ? number : `0x${value.toString(16).padStart(2 * size, '0')}`;
  }

  #hex(at: number, size: number): string {
    return Buffer.from(this.#body.buffer, this.#body.byteOffset + at, size).toString('hex');
  }
}

function fieldOf(field: unknown): FieldDescription | undefined {
  if (!isObject(field)) return undefined;
  const { name, type, size, array_len: length, index, struct } = field;
  if (typeof name !== 'string' || typeof type !== 'string' || !isSize(size)) return undefined;
  if (length !== undefined && !isSize(length)) return undefined;
  // Some types have the fields of their struct beside their own members.
  const inner = isObject(struct) ? struct : field;
  return {
    name,
    type,
    size,
    ...(isSize(length) ? { array_len: length } : {}),
    ...(isSize(index) ? { index } : {}),
    ...(Array.isArray(inner.fields) ? { struct: { fields: inner.fields, subsections: inner.subsections } } : {}),
  };
}

/** The members of a struct under names of their own. */
class Members {
  readonly #values = new Map<string, FieldValue>();
  readonly #repeats = new Map<string, number>();

  /** Elements with an index make an array; another field of the same name gets a number behind it. */
  add(name: string, value: FieldValue, index?: number): void {
    const before = this.#values.get(name);
    if (index !== undefined && before === undefined) this.#values.set(name, [value]);
    else if (index !== undefined && Array.isArray(before)) before.push(value);
    else if (before === undefined) this.#values.set(name, value);
    else {
      const repeat = (this.#repeats.get(name) ?? 1) + 1;
      this.#repeats.set(name, repeat);
      this.#values.set(`${name}#${repeat}`, value);
    }
  }

  get fields(): Fields {
    return Object.fromEntries(this.#values);
  }
}
