/** Reads what `postcopy relay --record` wrote: the bytes of each connection and direction, and in which pieces. */
import { readFileSync } from 'node:fs';
import type { Direction } from '#lib/index.js';
import { type ByteSource, openSource } from '#lib/inspect/byte-source.js';
import { inspect, readContext } from '#lib/inspect/inspect.js';

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

/** What the inspector finds a recorded connection to be. One of a recovery builds on the first. */
export async function recorded(prefix: string, direction: Direction, connection = 0) {
  const opened = async <T>(name: string, use: (source: ByteSource) => Promise<T>): Promise<T> => {
    const source = await openSource(`${prefix}${name}.bin`);
    return use(source).finally(() => source.close());
  };
  const context = connection === 0 ? {} : { context: await opened('conn0.s2d', (main) => readContext(main)) };
  const { kind, end } = await opened(`conn${connection}.${direction}`, (source) => inspect(source, context));
  return { kind, verdict: end.verdict, offset: end.offset };
}
