/** What is fuzzed: the bytes of one connection, and what the connections before it told. */
import type { StreamContext } from '#lib/wire/decode.js';

export type Channel = 'main' | 'main-resumed' | 'preempt' | 'return-path' | 'multifd';

/** A seed: a connection of a real QEMU, made small. Its name is how a finding refers to it. */
export interface Origin {
  readonly name: string;
  readonly channel: Channel;
  readonly context: StreamContext | undefined;
}

/** A record as it lies in an input, or what is left of one behind the last whole record. */
export interface Piece {
  readonly bytes: Uint8Array;
  /** Inside a package, whose PACKAGED is a piece before. */
  readonly packaged: boolean;
}

export interface Input {
  readonly origin: Origin;
  readonly pieces: readonly Piece[];
}

/** Longest input. Seeds stay far below. */
export const MAX_INPUT_BYTES = 96 * 1024;

/** Thrown where something that must hold does not; whatever else a target throws is one too. */
export class Broken extends Error {
  override readonly name = 'Broken';
}

/** What is run on each input. */
export interface Target {
  readonly name: string;
  readonly seeds: readonly Input[];
  /**
   * Runs bytes[0, length) and checks what must hold. `choice` decides all that is left open, such as how the
   * bytes are cut. Adds to `outcome` what the input came to. Throws where something is broken.
   */
  execute(bytes: Uint8Array, length: number, origin: Origin, choice: number, outcome: Outcome): Promise<void> | void;
  close(): void;
}

/** What one execution came to: numbers that stand for steps it took, and where its records begin. */
export class Outcome {
  readonly features: number[] = [];
  readonly starts: number[] = [];
  readonly packaged: boolean[] = [];

  clear(): void {
    this.features.length = 0;
    this.starts.length = 0;
    this.packaged.length = 0;
  }

  record(start: number, packaged: boolean): void {
    this.starts.push(start);
    this.packaged.push(packaged);
  }
}

/** The input as pieces again, by where its records were found to begin. */
export function piecesOf(bytes: Uint8Array, length: number, { starts, packaged }: Outcome): Piece[] {
  if (starts.length === 0) return [{ bytes: bytes.slice(0, length), packaged: false }];
  return starts.map((start, i) => ({
    bytes: bytes.slice(i === 0 ? 0 : start, i + 1 < starts.length ? starts[i + 1] : length),
    packaged: packaged[i],
  }));
}
