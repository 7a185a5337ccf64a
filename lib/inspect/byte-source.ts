/**
 * Where the bytes of a recording come from: a file or standard input, unpacked when it is gzip.
 *
 * Reads in order, never seeks, so a pipe will do. Holds one chunk at most.
 */
import { open } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { constants, createGunzip } from 'node:zlib';
import { MigrationError } from '../errors.js';

export interface ByteSource {
  /** Whether the recording is packed; what is read is unpacked. */
  readonly gzip: boolean;
  /** Bytes of the recording itself that have been read, packed ones as they are. */
  readonly position: number;
  /** Bytes of the recording itself, or undefined where only its end will tell. */
  readonly size: number | undefined;
  /**
   * Puts bytes at the start of `into`, and returns how many; 0 at the end only.
   * @throws MigrationError STREAM_CORRUPT where gzip data is damaged; BAD_ARGUMENT where reading fails
   */
  read(into: Uint8Array): Promise<number>;
  close(): Promise<void>;
}

type Chunks = AsyncIterator<Uint8Array>;

/** What stands for standard input in place of a file's name. */
export const STDIN = '-';

const CHUNK_BYTES = 1024 * 1024;
const GZIP_MAGIC = [0x1f, 0x8b];

/** A recording as it lies on disk or comes through a pipe. */
interface Raw {
  readonly size: number | undefined;
  read(into: Uint8Array): Promise<number>;
  close(): Promise<void>;
}

/** Reads what an iterator of chunks gives into buffers of any size. */
function fromChunks(chunks: Chunks): (into: Uint8Array) => Promise<number> {
  let left: Uint8Array = new Uint8Array(0);
  return async (into) => {
    while (left.length === 0) {
      const { value, done } = await chunks.next();
      if (done) return 0;
      left = value;
    }
    const length = Math.min(left.length, into.length);
    into.set(left.subarray(0, length));
    left = left.subarray(length);
    return length;
  };
}

function cannotRead(path: string, cause: unknown): MigrationError {
  const { code } = cause as NodeJS.ErrnoException;
  const hint = code === 'ENOENT' ? 'give the path of a recorded stream' : 'give a file that can be read';
  return new MigrationError('BAD_ARGUMENT', `cannot read "${path}" (${code ?? cause})`, { hint, cause });
}

async function openFile(path: string): Promise<Raw> {
  try {
    const handle = await open(path, 'r');
    const stat = await handle.stat();
    return {
      size: stat.isFile() ? stat.size : undefined,
      read: async (into) => {
        try {
          return (await handle.read(into, 0, into.length, null)).bytesRead;
        } catch (error) {
          throw cannotRead(path, error);
        }
      },
      close: () => handle.close(),
    };
  } catch (error) {
    throw cannotRead(path, error);
  }
}

function openStdin(stream: Readable): Raw {
  return {
    size: undefined,
    read: fromChunks(stream[Symbol.asyncIterator]()),
    close: async () => {
      stream.destroy();
    },
  };
}

/** A name that opens: `-` is standard input. @throws MigrationError BAD_ARGUMENT */
export async function openSource(path: string, stdin: Readable = process.stdin): Promise<ByteSource> {
  const raw = path === STDIN ? openStdin(stdin) : await openFile(path);
  try {
    return await unpacked(raw);
  } catch (error) {
    await raw.close();
    throw error;
  }
}

async function unpacked(raw: Raw): Promise<ByteSource> {
  let position = 0;
  const read = async (into: Uint8Array) => {
    const length = await raw.read(into);
    position += length;
    return length;
  };
  // A pipe can't be rewound, so the first bytes are read once and given again.
  const head = new Uint8Array(GZIP_MAGIC.length);
  let filled = 0;
  while (filled < head.length) {
    const length = await read(head.subarray(filled));
    if (length === 0) break;
    filled += length;
  }
  const gzip = GZIP_MAGIC.every((byte, i) => head[i] === byte);
  async function* everything(): AsyncGenerator<Uint8Array> {
    if (filled > 0) yield head.subarray(0, filled);
    for (;;) {
      const chunk = new Uint8Array(CHUNK_BYTES);
      const length = await read(chunk);
      if (length === 0) return;
      yield chunk.subarray(0, length);
    }
  }
  return {
    gzip,
    size: raw.size,
    get position() {
      return position;
    },
    read: gzip ? gunzipped(everything()) : withHead(head.subarray(0, filled), read),
    close: () => raw.close(),
  };
}

/** Without a copy of what comes behind the head. */
function withHead(head: Uint8Array, read: ByteSource['read']): ByteSource['read'] {
  let given = 0;
  return async (into) => {
    if (given === head.length) return read(into);
    const length = Math.min(head.length - given, into.length);
    into.set(head.subarray(given, given + length));
    given += length;
    return length;
  };
}

function gunzipped(packed: AsyncGenerator<Uint8Array>): ByteSource['read'] {
  // With this flush, packed data that was cut gives all it can and then ends, as a cut stream does.
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES, finishFlush: constants.Z_SYNC_FLUSH });
  // An error also ends the iteration below, which reports it.
  pipeline(Readable.from(packed), gunzip, () => {});
  const read = fromChunks(gunzip[Symbol.asyncIterator]());
  return async (into) => {
    try {
      return await read(into);
    } catch (error) {
      if (error instanceof MigrationError) throw error;
      throw new MigrationError('STREAM_CORRUPT', `the gzip data is damaged: ${(error as Error).message}`, {
        record: 'gzip',
        cause: error,
      });
    }
  };
}
