/** Milliseconds since 1970 with their fractions: the clock of QEMU's events, and the same in every process here. */
export const epochMs = (): number => performance.timeOrigin + performance.now();
