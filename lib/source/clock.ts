/** The source's one clock: CLOCK_MONOTONIC, in milliseconds with fractions. Any thread. */
import { native } from '../native.js';

export function nowMs(): number {
  return native().monotonicUs() / 1000;
}
