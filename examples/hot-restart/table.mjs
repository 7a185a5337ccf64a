// A hash table in one ArrayBuffer: slots with open addressing, and behind them the records.
//
//   slot   u32 hash, u32 unit of the record, or EMPTY or DELETED
import { Full, Records } from './records.mjs';

const EMPTY = 0;
const DELETED = 1;
const BYTES_PER_SLOT = 512; // of the memory, more or less: there is a power of two of them
const MOST_USED = 0.75;

function hashOf(key) {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at += 1) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

export class Table {
  #slots;
  #count;
  #records;

  // `state` is all that is not in the memory; without, the table is empty.
  constructor(memory, state) {
    this.#count = 2 ** Math.floor(Math.log2(memory.byteLength / BYTES_PER_SLOT));
    this.#slots = new Uint32Array(memory, 0, 2 * this.#count);
    this.state = state ?? { keys: 0, used: 0, records: Records.firstState(this.#slots.byteLength) };
    this.#records = new Records(memory, this.state.records);
  }

  get(key) {
    const unit = this.#slots[this.#find(key, hashOf(key)) + 1];
    return unit > DELETED ? this.#records.value(unit) : undefined;
  }

  // Throws Full, with the table as it was.
  set(key, value) {
    const hash = hashOf(key);
    const slot = this.#find(key, hash);
    const before = this.#slots[slot + 1];
    if (before > DELETED) {
      this.#slots[slot + 1] = this.#records.replace(before, key, value);
      return;
    }
    if (before === EMPTY && this.state.used >= this.#count * MOST_USED) throw new Full();
    this.#slots[slot + 1] = this.#records.create(key, value);
    this.#slots[slot] = hash;
    this.state.keys += 1;
    if (before === EMPTY) this.state.used += 1;
  }

  // Whether there was one.
  delete(key) {
    const slot = this.#find(key, hashOf(key));
    const unit = this.#slots[slot + 1];
    if (unit <= DELETED) return false;
    this.#records.free(unit);
    this.#slots[slot + 1] = DELETED;
    this.state.keys -= 1;
    return true;
  }

  // The key's slot if it has one, else the one it would get, by the index of its hash.
  #find(key, hash) {
    let vacant = -1;
    for (let at = hash & (this.#count - 1); ; at = (at + 1) & (this.#count - 1)) {
      const unit = this.#slots[2 * at + 1];
      if (unit <= DELETED && vacant < 0) vacant = 2 * at;
      if (unit === EMPTY) return vacant;
      if (unit > DELETED && this.#slots[2 * at] === hash && this.#records.key(unit) === key) return 2 * at;
    }
  }
}
