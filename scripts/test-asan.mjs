/**
 * Runs the tests on the addon of build-asan/: `npm run test:asan [-- vitest arguments]`.
 *
 * Node itself is not built with the sanitizer, so its runtime is preloaded. Leaks are not looked for, as
 * everything that V8 and Node leave to the end of the process would count; tests count open handles instead.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { runScript, step } from './step.mjs';
import { root } from './toolchain.mjs';

/** Every finding ends the process: a report on stderr alone would let the test pass. */
const sanitizerOptions = {
  ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1:halt_on_error=1',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
};

await runScript(async () => {
  const runtime = (await step('sanitizer runtime', process.env.CXX || 'g++', ['-print-file-name=libasan.so'])).trim();
  const env = {
    ...process.env,
    ...sanitizerOptions,
    LD_PRELOAD: runtime,
    POSTCOPY_ADDON_DIR: join(root, 'build-asan', 'Debug'),
  };
  const args = [join(root, 'scripts', 'test.mjs'), ...process.argv.slice(2)];
  process.exitCode = spawnSync(process.execPath, args, { cwd: root, env, stdio: 'inherit' }).status ?? 1;
});
