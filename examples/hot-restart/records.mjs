// Records of a key and a value in memory, each in 64 bytes times a power of two; freed ones are in a list for each
// size. Nothing is evicted and nothing moved: when it is full, it is. Strings are of bytes (latin1).
//
//   record   u16 size, u16 bytes of the key, u32 bytes of the value, key, value
//   freed    u16 size, u16 of no meaning, u32 unit of the next
const UNIT = 64;
const HEADER = 8;
const SIZES = 16;

// The most that a record can hold, in bytes.
export const MAX_KEY = 2 ** 16 - 1;
export const MAX_VALUE = 2 ** 20;

// There is no room for a record.
export class Full extends Error {}

// Which size holds these strings: 2^size units.
function sizeFor(key, value) {
  return 32 - Math.clz32(Math.ceil((HEADER + key.length + value.length) / UNIT) - 1);
}

export class Records {
  #bytes;
  #state;

  // `state` is what is not in the memory, `top` and `free`: see firstState.
  constructor(memory, state) {
    this.#bytes = Buffer.from(memory);
    this.#state = state;
  }

  // For records from that byte on.
  static firstState(start) {
    return { top: Math.ceil(start / UNIT), free: new Array(SIZES).fill(0) };
  }

  key(unit) {
    const start = unit * UNIT + HEADER;
    return this.#bytes.latin1Slice(start, start + this.#bytes.readUInt16LE(unit * UNIT + 2));
  }

  value(unit) {
    const start = unit * UNIT + HEADER + this.#bytes.readUInt16LE(unit * UNIT + 2);
    return this.#bytes.latin1Slice(start, start + this.#bytes.readUInt32LE(unit * UNIT + 4));
  }

  // The unit of a new record. Throws Full.
  create(key, value) {
    const size = sizeFor(key, value);
    const unit = this.#allocate(size);
    this.#bytes.writeUInt16LE(size, unit * UNIT);
    this.#write(unit, key, value);
    return unit;
  }

  // The unit of the record with another value, which is the same where it fits. Throws Full, and nothing is changed.
  replace(unit, key, value) {
    if (sizeFor(key, value) !== this.#sizeOf(unit)) {
      const other = this.create(key, value);
      this.free(unit);
      return other;
    }
    this.#write(unit, key, value);
    return unit;
  }

  free(unit) {
    const size = this.#sizeOf(unit);
    this.#bytes.writeUInt32LE(this.#state.free[size], unit * UNIT + 4);
    this.#state.free[size] = unit;
  }

  #sizeOf(unit) {
    return this.#bytes.readUInt16LE(unit * UNIT);
  }

  #write(unit, key, value) {
    this.#bytes.writeUInt16LE(key.length, unit * UNIT + 2);
    this.#bytes.writeUInt32LE(value.length, unit * UNIT + 4);
    this.#bytes.latin1Write(key, unit * UNIT + HEADER);
    this.#bytes.latin1Write(value, unit * UNIT + HEADER + key.length);
  }

  #allocate(size) {
    const { free, top } = this.#state;
    if (free[size] !== 0) {
      const unit = free[size];
      free[size] = this.#bytes.readUInt32LE(unit * UNIT + 4);
      return unit;
    }
    if ((top + 2 ** size) * UNIT > this.#bytes.length) throw new Full();
    this.#state.top += 2 ** size;
    return top;
  }
}
