// A hash table in one ArrayBuffer: slots with open addressing, and behind them the records.
//
//   slot   u32 hash, u32 unit of the record, or EMPTY
import { Full, Records } from './records.mjs';

const EMPTY = 0;
const BYTES_PER_SLOT = 512; // of the memory, more or less: there is a power of two of them
const MOST_USED = 0.75;

function hashOf(key) {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at += 1) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

export class Table {
  #mask;
  #slots;
  #records;

  // `state` is all that is not in the memory; without, the table is empty.
  constructor(memory, state) {
    const count = 2 ** Math.floor(Math.log2(memory.byteLength / BYTES_PER_SLOT));
    this.#mask = count - 1;
    this.#slots = new Uint32Array(memory, 0, 2 * count);
    this.state = state ?? { keys: 0, records: Records.firstState(this.#slots.byteLength) };
    this.#records = new Records(memory, this.state.records);
  }

  get(key) {
    const unit = this.#slots[2 * this.#find(key, hashOf(key)) + 1];
    return unit === EMPTY ? undefined : this.#records.value(unit);
  }

  // Throws Full, with the table as it was.
  set(key, value) {
    const hash = hashOf(key);
    const slot = this.#find(key, hash);
    const before = this.#slots[2 * slot + 1];
    if (before !== EMPTY) {
      this.#slots[2 * slot + 1] = this.#records.replace(before, key, value);
      return;
    }
    if (this.state.keys >= (this.#mask + 1) * MOST_USED) throw new Full();
    this.#slots[2 * slot + 1] = this.#records.create(key, value);
    this.#slots[2 * slot] = hash;
    this.state.keys += 1;
  }

  // Whether there was one.
  delete(key) {
    let hole = this.#find(key, hashOf(key));
    if (this.#slots[2 * hole + 1] === EMPTY) return false;
    this.#records.free(this.#slots[2 * hole + 1]);
    // Those behind it move up, unless that were before the slot that their hash asks for.
    for (let next = this.#after(hole); this.#slots[2 * next + 1] !== EMPTY; next = this.#after(next)) {
      const wanted = this.#slots[2 * next] & this.#mask;
      if (((next - wanted) & this.#mask) < ((next - hole) & this.#mask)) continue;
      this.#slots.copyWithin(2 * hole, 2 * next, 2 * next + 2);
      hole = next;
    }
    this.#slots[2 * hole + 1] = EMPTY;
    this.state.keys -= 1;
    return true;
  }

  #after(slot) {
    return (slot + 1) & this.#mask;
  }

  // The key's slot if it has one, else the empty one that it would get.
  #find(key, hash) {
    for (let slot = hash & this.#mask; ; slot = this.#after(slot)) {
      const unit = this.#slots[2 * slot + 1];
      if (unit === EMPTY) return slot;
      if (this.#slots[2 * slot] === hash && this.#records.key(unit) === key) return slot;
    }
  }
}
