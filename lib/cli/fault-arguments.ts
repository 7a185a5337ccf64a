/** Faults of `postcopy relay` as people type them: `64M`, `0x1000:0x80@1`, `1M@all`. Pure. */
import { MigrationError } from '../errors.js';
import type { Fault } from '../relay/faults.js';
import { formatBytes, parseSize } from './size.js';

/** Where a fault happens, and what it leaves open. */
export interface FaultPlace {
  readonly after: number;
  readonly connection: number | 'all';
}

export interface Corruption extends FaultPlace {
  readonly xor: number;
}

/** Bytes from the start of the stream: a size, 0, or a number with `0x`. */
function parseOffset(text: string): number {
  return /^(0|0x[0-9a-f]+)$/i.test(text) ? Number(text) : parseSize(text);
}

function bad(text: string, hint: string): MigrationError {
  return new MigrationError('BAD_ARGUMENT', `"${text}" is no place in a stream`, { hint });
}

/** `64M` on the first connection, `64M@1` on the second, `64M@all` on each. Throws BAD_ARGUMENT. */
export function parsePlace(text: string): FaultPlace {
  const [, offset, connection = '0'] = /^([^@]*)(?:@(\d+|all))?$/.exec(text.trim()) ?? [];
  if (offset === undefined) throw bad(text, 'write it like 64M, or 64M@1 for the second connection');
  return { after: parseOffset(offset), connection: connection === 'all' ? 'all' : Number(connection) };
}

/** `0x1000`, or `0x1000:0x01` to change only the bits of 0x01; both as {@link parsePlace}. Throws BAD_ARGUMENT. */
export function parseCorruption(text: string): Corruption {
  const [, offset, xor = '0xff', connection = ''] = /^([^:@]*)(?::(\d+|0x[0-9a-f]+))?(@.*)?$/i.exec(text.trim()) ?? [];
  const hint = 'write it like 4096, 4096:0x01 to change one bit (xor 1 to 255), or 4096@1 for the second connection';
  if (offset === undefined || !(Number(xor) >= 1 && Number(xor) <= 255)) throw bad(text, hint);
  return { ...parsePlace(`${offset}${connection}`), xor: Number(xor) };
}

/** `cut after 64 MiB of s2d on connection 0`. */
export function faultText(fault: Fault): string {
  const { kind, after, direction = 's2d', connection = 0 } = fault;
  const exact = formatBytes(after) === `${after} B` ? '' : ` (${after} bytes)`;
  const where = connection === 'all' ? 'each connection' : `connection ${connection}`;
  const place = kind === 'corrupt' ? 'at byte' : 'after';
  const bytes = kind === 'corrupt' ? String(after) : `${formatBytes(after)}${exact}`;
  return `${kind} ${place} ${bytes} of ${direction} on ${where}`;
}
