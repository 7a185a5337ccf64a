// A guest of your own, whole: a ring of numbered events in RAM, which a worker writes as a vCPU would
// (own-guest-worker.mjs). docs/guests.md says why each thing is as it is; move-own-guest.mjs moves it; and
// test/examples.test.ts holds it against the contract of guests, with postcopy/testing.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { RAMBlock } from 'postcopy';

const PAGE = 4096;
const MARK = 0x676e6972;
const VERSION = 1;
const STATE_BYTES = 16;

/** Where event n stands: all over RAM, as the number of slots is a power of two and the factor is odd. */
export const slotOf = (event, slots) => Number((event * 1021n) % BigInt(slots));

export class EventRing {
  running = false;
  #block;
  #worker;
  #isClosed = false;
  /** How many events there were when it was stopped: the only state that is not in RAM. */
  #count = 0n;

  constructor({ pages = 256 } = {}) {
    this.#block = RAMBlock.create({ idstr: 'ring', size: pages * PAGE });
    this.ramBlocks = [this.#block];
    this.#worker = new Worker(new URL('own-guest-worker.mjs', import.meta.url), { workerData: this.#block.descriptor });
    this.died = new Promise((resolve) => {
      this.#worker.once('error', resolve);
      this.#worker.once('exit', () => this.#isClosed || resolve(new Error('its worker has ended')));
    });
  }

  async start() {
    if (this.running) return;
    this.#worker.postMessage({ startAt: this.#count });
    this.running = true;
  }

  /** The worker answers between two ticks; in a page fault not before the page is there. Then it touches nothing. */
  async stop() {
    if (!this.running) return;
    this.#count = await this.count('stop');
    this.running = false;
  }

  /** How many events there are by now. */
  async count(request = 'count') {
    this.#worker.postMessage(request);
    return (await once(this.#worker, 'message'))[0];
  }

  /** Little-endian: mark, version, count. */
  async saveDeviceState() {
    const state = new DataView(new ArrayBuffer(STATE_BYTES));
    state.setUint32(0, MARK, true);
    state.setUint32(4, VERSION, true);
    state.setBigUint64(8, this.#count, true);
    return new Uint8Array(state.buffer);
  }

  /** The bytes are a peer's: all is checked before any is used. RAM is not touched, as it may be still to come. */
  async loadDeviceState(bytes) {
    if (bytes.length !== STATE_BYTES) throw new Error(`a device state of ${bytes.length} bytes, not ${STATE_BYTES}`);
    const state = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const [mark, version] = [state.getUint32(0, true), state.getUint32(4, true)];
    if (mark !== MARK) throw new Error('a device state of another sort of guest');
    if (version !== VERSION) throw new Error(`a device state of version ${version}, where this is ${VERSION}`);
    this.#count = state.getBigUint64(8, true);
  }

  /** Throws where an event that was not overwritten is lost. While stopped, with all of RAM here. */
  verify() {
    const events = new BigUint64Array(this.#block.bytes().buffer);
    for (let age = 1n; age <= BigInt(events.length) && age <= this.#count; age += 1n) {
      const event = this.#count - age;
      if (events[slotOf(event, events.length)] !== event) throw new Error(`event ${event} of ${this.#count} is lost`);
    }
  }

  async close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.running = false;
    await this.#worker.terminate();
    this.#block.close();
  }
}
