/** Reads what `postcopy relay --record` wrote: the bytes of each connection and direction, and in which pieces. */
import { readFileSync } from 'node:fs';
import type { Direction } from '#lib/index.js';

/** A line of the index. */
export type Note = { readonly t: number; readonly conn: number } & (
  | { readonly ev: 'open' | 'cut' }
  | { readonly ev: 'eof'; readonly dir: Direction; readonly total: number }
  | { readonly ev?: undefined; readonly dir: Direction; readonly off: number; readonly len: number }
);

export interface Recording {
  readonly index: readonly Note[];
  bytes(connection: number, direction: Direction): Uint8Array;
  /** As the index cuts them. */
  pieces(connection: number, direction: Direction): Uint8Array[];
}

/** `prefix`: what the names of its files begin with; a folder with its slash, or a name with its dot. */
export function readRecording(prefix: string): Recording {
  const lines = readFileSync(`${prefix}index.jsonl`, 'utf8').split('\n');
  const index = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Note);
  const bytes = (connection: number, direction: Direction): Uint8Array =>
    Uint8Array.from(readFileSync(`${prefix}conn${connection}.${direction}.bin`));
  return {
    index,
    bytes,
    pieces: (connection, direction) => {
      const all = bytes(connection, direction);
      return index.flatMap((note) =>
        note.ev === undefined && note.conn === connection && note.dir === direction
          ? [all.subarray(note.off, note.off + note.len)]
          : [],
      );
    },
  };
}
