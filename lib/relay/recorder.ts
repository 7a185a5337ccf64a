/**
 * Records what a relay passes on: the bytes of each connection and direction in a file, and an index of when
 * each piece went.
 *
 * What is in the files is what the receiving side was given, faults included. Written at once and in order,
 * bytes before the index line that names them, so that a recording is whole up to its last line however the
 * process ends. A disk slower than the migration slows it down.
 *
 *     conn0.s2d.bin   from the source of the first connection      conn0.d2s.bin   from its destination
 *     index.jsonl     {"t":0.0067,"ev":"open","conn":0}             t: seconds since the first connection, to the µs
 *                     {"t":0.0071,"conn":0,"dir":"s2d","off":0,"len":55}
 *                     {"t":1.1149,"ev":"cut","conn":0}
 *                     {"t":1.1150,"ev":"eof","conn":0,"dir":"s2d","total":2861147}
 */
import { closeSync, mkdirSync, openSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { MigrationError } from '../errors.js';
import { type Direction, directions } from './faults.js';
import type { RelayObserver } from './observer.js';

/** A folder that is there, or a path with a slash behind it, is a folder; any other name begins each file's. */
function prefixOf(path: string): string {
  const isFolder = path.endsWith('/') || statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  return isFolder ? join(path, '/') : `${path}.`;
}

/** Writes all of the bytes; a disk that is full throws. */
function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

export class Recorder implements RelayObserver {
  /** What the names of its files begin with. */
  readonly prefix: string;
  readonly #now: () => number;
  readonly #index: number;
  readonly #files = new Map<string, number>();
  readonly #text = new TextEncoder();
  #start: number | undefined;

  /**
   * Makes the folder and the index.
   *
   * @param now milliseconds from any start
   * @throws MigrationError BAD_ARGUMENT where there is a recording already or none can be made
   */
  constructor(path: string, now: () => number = () => performance.now()) {
    this.prefix = prefixOf(path);
    this.#now = now;
    try {
      mkdirSync(dirname(`${this.prefix}index`), { recursive: true });
      this.#index = openSync(`${this.prefix}index.jsonl`, 'wx');
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'EEXIST') throw new MigrationError('BAD_ARGUMENT', `cannot record to ${path}: ${message}`);
      throw new MigrationError('BAD_ARGUMENT', `there is a recording at ${this.prefix}index.jsonl already`, {
        hint: 'choose another place, or remove it',
      });
    }
  }

  opened(connection: number): void {
    for (const direction of directions) {
      const name = `conn${connection}.${direction}`;
      this.#files.set(name, openSync(`${this.prefix}${name}.bin`, 'w'));
    }
    this.#note({ ev: 'open', conn: connection });
  }

  passed(connection: number, direction: Direction, bytes: Uint8Array, offset: number): void {
    const file = this.#files.get(`conn${connection}.${direction}`);
    if (file === undefined) return;
    writeAll(file, bytes);
    this.#note({ conn: connection, dir: direction, off: offset, len: bytes.length });
  }

  ended(connection: number, direction: Direction, total: number): void {
    this.#note({ ev: 'eof', conn: connection, dir: direction, total });
  }

  cut(connection: number): void {
    this.#note({ ev: 'cut', conn: connection });
  }

  close(): void {
    for (const fd of [this.#index, ...this.#files.values()]) closeSync(fd);
    this.#files.clear();
  }

  #note(fields: object): void {
    const now = this.#now();
    this.#start ??= now;
    const t = Math.round((now - this.#start) * 1000) / 1e6;
    writeAll(this.#index, this.#text.encode(`${JSON.stringify({ t, ...fields })}\n`));
  }
}
