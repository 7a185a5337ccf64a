/** How a recording ends, and what its decoder threw as that verdict. Pure. */
import { MigrationError } from '../errors.js';
import { WireError } from '../wire/errors.js';

/**
 * - `complete`: all records are whole, up to the end that this kind of connection has.
 * - `cut`: right as far as it goes, but it ends early.
 * - `corrupt`: bytes that no source sends, or gzip data that is damaged.
 * - `unsupported`: a part of the protocol that is not decoded here; what comes before it is right.
 * - `unreadable`: not a connection of a migration, or not to be read without its main connection.
 */
export type Verdict = 'complete' | 'cut' | 'corrupt' | 'unsupported' | 'unreadable';

export interface End {
  readonly verdict: Verdict;
  /** Where: the end of a complete or cut recording, else the byte or field at fault. Of the unpacked stream. */
  readonly offset: number;
  /** Code of the WireError, where there was one. */
  readonly code: string | null;
  /** The record that is cut or at fault, and where it begins. */
  readonly record: string | null;
  readonly recordOffset: number | null;
  /** The section or package around that record. */
  readonly within: string | null;
  readonly detail: string;
}

export const complete = (offset: number): End => ({
  verdict: 'complete',
  offset,
  code: null,
  record: null,
  recordOffset: null,
  within: null,
  detail: 'every record is whole',
});

export const unreadable = (detail: string): End => ({ ...complete(0), verdict: 'unreadable', detail });

/** Where the decoder stood when it threw. */
export interface Standing {
  readonly recordOffset: number;
  /** Stream offset behind the last byte that was read. */
  readonly readOffset: number;
  /** Whether that is the end of the recording. */
  readonly ended: boolean;
  /** Stream offset at which the open package ends, infinite without one. */
  readonly packageEnd: number;
  readonly within: string | null;
}

/** The verdict for what a decoder or its source threw. Throws on what is about neither. */
export function verdictOf(error: unknown, standing: Standing): End {
  const { recordOffset, readOffset, within } = standing;
  if (error instanceof MigrationError && error.record === 'gzip') {
    const detail = error.message;
    return { verdict: 'corrupt', offset: readOffset, code: null, record: 'gzip', recordOffset: null, within, detail };
  }
  if (!(error instanceof WireError)) throw error;
  const { code, record } = error;
  // A record that reaches beyond its package is wrong; one that reaches beyond the recording is cut.
  if (code === 'TRUNCATED' && standing.ended && standing.packageEnd > readOffset) {
    const inside = readOffset - recordOffset;
    const detail =
      inside === 0
        ? `the recording ends where the next record should begin (${record})`
        : `the recording ends ${inside} bytes into a record that begins at offset ${recordOffset} (${record})`;
    return { verdict: 'cut', offset: readOffset, code, record, recordOffset, within, detail };
  }
  const verdict = code === 'UNSUPPORTED' ? 'unsupported' : 'corrupt';
  return { verdict, offset: error.offset, code, record, recordOffset, within, detail: error.message };
}
