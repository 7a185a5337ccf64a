/** Those who see what a relay passes on, and must not change it: the recorder, the message log. Types only. */
import type { Direction } from './faults.js';

/** Called as things happen; the first error one throws ends its part, never the connection's. */
export interface RelayObserver {
  /** Both ends of the connection are there. */
  opened(connection: number): void;
  /** About to be written to the receiving side. The bytes hold only during the call; the offset is of the first. */
  passed(connection: number, direction: Direction, bytes: Uint8Array, offset: number): void;
  /** The side that sends has ended, after so many bytes. */
  ended(connection: number, direction: Direction, total: number): void;
  /** The relay broke the connection. */
  cut(connection: number): void;
  /** The relay ends; no more calls. */
  close(): void;
}
