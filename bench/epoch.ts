/** Moments on one clock in every process here. */
import { native } from '#lib/native.js';

/** Milliseconds since 1970 with their fractions: the clock of QEMU's events, and the same in every process here. */
export const epochMs = (): number => performance.timeOrigin + performance.now();

/** The same of a moment that CLOCK_MONOTONIC gives in microseconds. */
export const epochMsOf = (monotonicUs: number): number => epochMs() - (native().monotonicUs() - monotonicUs) / 1000;
