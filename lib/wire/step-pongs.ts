/** Answered pings of a migration's steps, as a thread tells its owner of them for who watches. Pure. */
import { Ping } from './protocol.js';

export interface StepPong {
  readonly kind: 'pong';
  readonly value: number;
  /** Of CLOCK_MONOTONIC. */
  readonly atUs: number;
}

/** So many are told: a migration has a few, and a peer could send as many as it likes. */
const TOLD_MAX = 1000;

export class StepPongs {
  readonly #emit: (event: StepPong) => void;
  #told = 0;

  constructor(emit: (event: StepPong) => void) {
    this.#emit = emit;
  }

  /** Tells of it, if it belongs to a step. */
  tell(value: number, atUs: number): void {
    if (value >= Ping.PLACED || this.#told === TOLD_MAX) return;
    this.#told += 1;
    this.#emit({ kind: 'pong', value, atUs });
  }
}
