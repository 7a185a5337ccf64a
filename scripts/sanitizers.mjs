/** The environment in which Node runs the addon of build-asan/ (build-asan.mjs). */
import { join } from 'node:path';
import { step } from './step.mjs';
import { root } from './toolchain.mjs';

/** Every finding ends the process: a report on stderr alone would let the test pass. */
const sanitizerOptions = {
  ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1:halt_on_error=1',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
};

/**
 * Node itself is not built with the sanitizer, so its runtime is preloaded. Leaks are not looked for, as
 * everything that V8 and Node leave to the end of the process would count; tests count open handles instead.
 */
export async function sanitizerEnvironment(moreOptions = '') {
  const runtime = (await step('sanitizer runtime', process.env.CXX || 'g++', ['-print-file-name=libasan.so'])).trim();
  return {
    ...process.env,
    ...sanitizerOptions,
    ASAN_OPTIONS: `${sanitizerOptions.ASAN_OPTIONS}:${moreOptions}`,
    LD_PRELOAD: runtime,
    POSTCOPY_ADDON_DIR: join(root, 'build-asan', 'Debug'),
  };
}
