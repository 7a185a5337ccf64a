/**
 * Every error of the engine: one class, one table of codes.
 *
 * A code is stable and is a heading in docs/errors.md (a test holds the two together). The message
 * says what happened and where; the hint says what to do about it.
 */

/** Code → what to do when the thrower knows no better. */
export const errorCodes = {
  ADDON_MISSING: 'build the addon with "npm rebuild postcopy"; it needs python3, make and g++ on Linux',
  ADDRESS_IN_USE: 'choose another address, or end the process that listens there',
  BAD_ARGUMENT: 'correct the argument the message names',
  BAD_URI: 'write unix:/path/to/socket or tcp:host:port',
  CANCELLED: 'nothing: the guest is where it was',
  CONNECT_FAILED: 'check the address and the network between the two hosts',
  CONNECT_REFUSED: 'start the destination first, and give both sides the same URI',
  GUEST_FAILED: 'see the cause: the guest refused what the migration asked of it',
  GUEST_MISMATCH: 'give both sides a guest with the same RAM blocks: names, lengths, page sizes',
  GUEST_MOVED: 'repeat it at the successor: it was not begun here',
  GUEST_UNAVAILABLE: 'use --guest stress',
  HALVES_MISMATCH: 'give the two halves that were saved when one and the same migration was given up',
  ILLEGAL_COMMAND: 'the source broke the order of the protocol; record the stream and report it',
  KERNEL_TOO_OLD: 'run "postcopy probe" to see what this kernel lacks',
  LISTEN_FAILED: 'check that the path or address exists on this host and may be bound',
  MACHINE_INVALID: 'give a directory that "postcopy receive --save" made, as it made it',
  PAGES_MISSING: 'the source ended before it had sent all pages; look at its log for the reason',
  PEER_GONE: 'look at the other side for why it ended',
  PEER_FAILED: 'look at the destination for why it refused',
  PRECOPY_UNAVAILABLE: 'switch on the capability postcopyRam at both sides: postcopy needs no dirty tracking',
  RECOVERY_GIVEN_UP: 'put the image together from what both sides have: "postcopy reconcile"',
  SAVE_FAILED: 'choose a directory that is new or empty, with room for all of the RAM',
  STREAM_CORRUPT: 'the bytes are not a migration stream, or were damaged on the way; check what is at the other end',
  TIMEOUT: 'check that the other side is there and answers',
  USERFAULTFD_FORBIDDEN: 'run "postcopy probe", which says what forbids it and what to do',
  USERFAULTFD_UNAVAILABLE: 'run "postcopy probe", which says what is missing and what to do',
  UNSUPPORTED: 'switch the feature off at the source',
} as const;

export type ErrorCode = keyof typeof errorCodes;

export interface MigrationErrorOptions {
  /** What to do; the table's sentence for the code when absent. */
  readonly hint?: string;
  /** Stream offset in bytes, where the error is about the stream. */
  readonly offset?: number;
  /** The stream record it is about. */
  readonly record?: string;
  readonly cause?: unknown;
}

/** What structured clone keeps of an error, to carry one out of a worker. */
export interface PlainError {
  readonly code: string;
  readonly message: string;
  readonly hint: string | undefined;
  readonly offset: number | undefined;
  readonly record: string | undefined;
  readonly stack: string | undefined;
}

export class MigrationError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly offset: number | undefined;
  readonly record: string | undefined;

  constructor(code: ErrorCode, message: string, options: MigrationErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'MigrationError';
    this.code = code;
    this.hint = options.hint ?? errorCodes[code];
    this.offset = options.offset;
    this.record = options.record;
  }
}

/** The fields of any thrown value that survive a worker boundary. */
export function toPlainError(thrown: unknown): PlainError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const fields = error as Partial<Omit<PlainError, 'message' | 'stack'>>;
  return {
    code: typeof fields.code === 'string' ? fields.code : 'INTERNAL',
    message: error.message,
    hint: fields.hint,
    offset: fields.offset,
    record: fields.record,
    stack: error.stack,
  };
}

/** The error again, at the other side of a worker boundary; its stack is the one of the thread that threw. */
export function fromPlainError(plain: PlainError): Error {
  const known = Object.hasOwn(errorCodes, plain.code);
  const error = known
    ? new MigrationError(plain.code as ErrorCode, plain.message, {
        ...(plain.hint === undefined ? {} : { hint: plain.hint }),
        ...(plain.offset === undefined ? {} : { offset: plain.offset }),
        ...(plain.record === undefined ? {} : { record: plain.record }),
      })
    : Object.assign(new Error(plain.message), { code: plain.code });
  if (plain.stack !== undefined) error.stack = plain.stack;
  return error;
}

/** Calls a decoder of lib/wire; what it throws about the stream becomes STREAM_CORRUPT or UNSUPPORTED. */
export function asMigrationError<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'WireError') throw error;
    const { code, offset, record, message } = error as Error & { code: string; offset: number; record: string };
    throw new MigrationError(code === 'UNSUPPORTED' ? 'UNSUPPORTED' : 'STREAM_CORRUPT', message, {
      offset,
      record,
      cause: error,
    });
  }
}

/** One sentence for a person: what happened and what to do. */
export function describeError(thrown: unknown): string {
  const { message, hint } = toPlainError(thrown);
  return hint ? `${message}: ${hint}` : message;
}
