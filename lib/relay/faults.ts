/** What a relay does to a connection on purpose, and at which byte. Pure. */
import { MigrationError } from '../errors.js';

/** `s2d`: from the source, who connects, to the destination; `d2s`: back. */
export type Direction = 's2d' | 'd2s';

export const directions: readonly Direction[] = ['s2d', 'd2s'];

export function opposite(direction: Direction): Direction {
  return direction === 's2d' ? 'd2s' : 's2d';
}

/**
 * `fin`: both sides are told of an end, as when a process in between ends in good order. `rst`: of a reset,
 * and what their kernels have not taken yet is lost.
 */
export type CutHow = 'fin' | 'rst';

export type Fault = {
  /** Which connection, in the order they come, from 0; 0 when absent. */
  readonly connection?: number | 'all';
  /** The direction whose bytes are counted; s2d when absent. */
  readonly direction?: Direction;
} & (
  | { readonly kind: 'cut'; readonly after: number /** fin when absent */; readonly how?: CutHow }
  /** Nothing moves any more in either direction, and nobody is told: a half-open peer. */
  | { readonly kind: 'stall'; readonly after: number }
  /** The byte at this offset is changed: xor 1 to 255, 255 when absent. */
  | { readonly kind: 'corrupt'; readonly after: number; readonly xor?: number }
);

/** Throws BAD_ARGUMENT for a number out of its range. */
export function checkFault(fault: Fault): void {
  const wrong = (what: string, value: unknown, range: string): never => {
    throw new MigrationError('BAD_ARGUMENT', `a ${fault.kind} with ${what} ${String(value)}`, {
      hint: `give ${range}`,
    });
  };
  const { after, connection = 0, direction = 's2d' } = fault;
  if (!Number.isSafeInteger(after) || after < 0) wrong('offset', after, 'a whole number of bytes from 0');
  if (connection !== 'all' && (!Number.isSafeInteger(connection) || connection < 0)) {
    wrong('connection', connection, 'a whole number from 0, or "all"');
  }
  if (!directions.includes(direction)) wrong('direction', direction, directions.join(' or '));
  if (fault.kind === 'cut' && fault.how !== undefined && !['fin', 'rst'].includes(fault.how)) {
    wrong('how', fault.how, 'fin or rst');
  }
  if (fault.kind === 'corrupt' && fault.xor !== undefined) {
    const { xor } = fault;
    if (!Number.isInteger(xor) || xor < 1 || xor > 255) wrong('xor', xor, 'a whole number from 1 to 255');
  }
}

/** Whether a fault is one of this connection and direction. */
export function concerns(fault: Fault, connection: number, direction: Direction): boolean {
  const { connection: wanted = 0, direction: counted = 's2d' } = fault;
  return (wanted === 'all' || wanted === connection) && counted === direction;
}

/** The faults of one direction of one connection, each of which happens once. */
export class FaultPlan {
  readonly #faults: Fault[] = [];

  constructor(faults: readonly Fault[]) {
    for (const fault of faults) this.add(fault);
  }

  /** One more. A cut or stall at a byte that has passed happens at the next one; a corruption there never. */
  add(fault: Fault): void {
    // At one offset what stops the bytes comes first, as a corruption would be of the byte behind it.
    const order = ({ after, kind }: Fault): number => 2 * after + (kind === 'corrupt' ? 1 : 0);
    this.#faults.push(fault);
    this.#faults.sort((a, b) => order(a) - order(b));
  }

  /** The faults that have not happened. */
  get left(): readonly Fault[] {
    return this.#faults;
  }

  /**
   * How many of the bytes, the first of which has this offset, may pass before something is to be done, which
   * {@link due} then names. Changes those that are to be corrupted, in place.
   */
  admit(bytes: Uint8Array, offset: number, happened: (fault: Fault) => void): number {
    const end = offset + bytes.length;
    while (this.#faults.length > 0) {
      const fault = this.#faults[0];
      if (fault.kind !== 'corrupt') return Math.max(0, Math.min(bytes.length, fault.after - offset));
      if (fault.after >= end) break;
      this.#faults.shift();
      if (fault.after < offset) continue;
      bytes[fault.after - offset] ^= fault.xor ?? 0xff;
      happened(fault);
    }
    return bytes.length;
  }

  /** Takes out the cut or stall that is to happen once so many bytes have passed. */
  due(passed: number): Fault | undefined {
    const fault = this.#faults[0];
    if (fault === undefined || fault.kind === 'corrupt' || fault.after > passed) return undefined;
    return this.#faults.shift();
  }
}
