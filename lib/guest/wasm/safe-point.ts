/**
 * Whether a thread is where an instance is no more than its memories and globals: with no function of a module on the
 * stack. What stands on WebAssembly's stack is seen by nobody and moves nowhere.
 */

/** Called from JavaScript that a module has called, in whatever depth. Costs a stack trace. */
export function isInWebAssembly(): boolean {
  const { stackTraceLimit, prepareStackTrace } = Error;
  Error.stackTraceLimit = Number.POSITIVE_INFINITY;
  Error.prepareStackTrace = (_error, frames) => frames.some((frame) => frame.getFileName()?.startsWith('wasm://'));
  try {
    return new Error().stack as unknown as boolean;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    Error.prepareStackTrace = prepareStackTrace;
  }
}
