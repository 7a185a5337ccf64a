/**
 * Reads all RAM of a machine while it arrives, in a thread of its own (ram-reader-thread.ts), as a running guest
 * would: what is missing is faulted in. This is the thread's owner.
 */
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { Counters } from '../threads/counters.js';
import { Signals } from '../threads/signals.js';
import { startThread, type Thread, type ThreadOutcome } from '../threads/thread.js';

/** The one signal: what the thread is to do. */
export const Task = { WAIT: 0, READ: 1, STOP: 2 } as const;

export const createReaderSignals = (buffer?: SharedArrayBuffer) => new Signals(['TASK'], buffer);
/** Bytes of RAM read, bytes of those in pages that are not all zero. Written by the thread. */
export const createReaderCounters = (buffer?: SharedArrayBuffer) => new Counters(['read', 'data'], buffer);

export interface RamReaderData {
  readonly blocks: readonly RAMBlockDescriptor[];
  /** Where each block goes; undefined: nowhere. */
  readonly files: readonly string[] | undefined;
  readonly signals: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
}

/** SHA-256 of each block in hexadecimal digits. */
export type RamDigests = readonly string[];

/** The kernel's id of the thread, told once it waits for its task. */
export interface RamReaderEvent {
  readonly threadId: number;
}

export class RamReader {
  readonly #signals = createReaderSignals();
  readonly #counters = createReaderCounters();
  readonly #thread: Thread<RamDigests>;
  #threadId: number | undefined;

  /** The thread starts, and waits for {@link start} or {@link stop}. `files` are made by it. */
  constructor(blocks: readonly RAMBlockDescriptor[], files: readonly string[] | undefined) {
    this.#thread = startThread<RamReaderData, RamDigests, RamReaderEvent>({
      name: 'mig/dst/reader',
      entry: new URL('./ram-reader-thread.js', import.meta.url),
      data: { blocks, files, signals: this.#signals.buffer, counters: this.#counters.buffer },
      onEvent: ({ threadId }) => {
        this.#threadId = threadId;
      },
    });
  }

  get threadIds(): readonly number[] {
    return this.#threadId === undefined ? [] : [this.#threadId];
  }

  get bytesRead(): number {
    return this.#counters.get('read');
  }

  /** Of those, bytes of pages that were not all zero. */
  get dataBytes(): number {
    return this.#counters.get('data');
  }

  /** Never rejects. */
  get ended(): Promise<ThreadOutcome<RamDigests>> {
    return this.#thread.ended;
  }

  start(): void {
    this.#signals.exchange('TASK', Task.WAIT, Task.READ);
  }

  /** Ends it as soon as the page it waits for has come, or was let go of (`IncomingMigration.abandon`). */
  stop(): void {
    this.#signals.set('TASK', Task.STOP);
  }
}
