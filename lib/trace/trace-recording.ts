/**
 * Trace points of this process into a file while they are published, a line of JSON each: cheap to write,
 * readable to where it was cut off, and later made into one trace with those of other processes
 * (trace-file.ts). Memory does not grow with the trace.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { closeSync, openSync, writeSync } from 'node:fs';
import { traceChannels } from './trace-session.js';

/** The last line of a recording that was ended, and not cut off. */
export const RECORDING_END = '"end"';

const CHUNK_CHARACTERS = 64 * 1024;

export interface TraceRecording {
  /** Ends it; what was recorded is in the file. Throws what kept it from being written (ENOSPC). */
  close(): void;
}

/**
 * Records every trace point of the migrations that begin in this process from now on, until closed. A migration
 * that goes on meanwhile is not recorded. Throws the error of opening the file.
 */
export function recordTrace(path: string): TraceRecording {
  return new FileRecording(path);
}

class FileRecording implements TraceRecording {
  readonly #file: number;
  #lines = '';
  /** Writes the points of one look at the rings together. */
  #flushing: NodeJS.Immediate | undefined;
  #failure: unknown;
  #open = true;

  constructor(path: string) {
    this.#file = openSync(path, 'w');
    for (const name of traceChannels) subscribe(name, this.#onMessage);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const name of traceChannels) unsubscribe(name, this.#onMessage);
    this.#lines += `${RECORDING_END}\n`;
    this.#flush();
    closeSync(this.#file);
    if (this.#failure !== undefined) throw this.#failure;
  }

  readonly #onMessage = (message: unknown): void => {
    this.#lines += `${JSON.stringify(message)}\n`;
    if (this.#lines.length >= CHUNK_CHARACTERS) this.#flush();
    else this.#flushing ??= setImmediate(() => this.#flush());
  };

  /** A failure is kept for close(): tracing must not break a migration. Nothing is written after it. */
  #flush(): void {
    clearImmediate(this.#flushing);
    this.#flushing = undefined;
    const lines = this.#lines;
    this.#lines = '';
    if (this.#failure !== undefined) return;
    try {
      const bytes = Buffer.from(lines);
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at);
    } catch (failure) {
      this.#failure = failure;
    }
  }
}
