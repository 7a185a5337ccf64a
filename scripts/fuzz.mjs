/** Runs fuzz/main.ts: `npm run fuzz [-- options]`; with --asan on the addon of build-asan/, built first. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { sanitizerEnvironment } from './sanitizers.mjs';
import { runScript } from './step.mjs';
import { root } from './toolchain.mjs';

const ASAN = '--asan';
/** Freed memory is held back only for a while, and less noted of who asked for it: more than twice as fast. */
const fastSanitizer = 'quarantine_size_mb=16:malloc_context_size=4';

await runScript(async () => {
  const isAsan = process.argv.includes(ASAN);
  if (isAsan) {
    const { status } = spawnSync(process.execPath, [join(root, 'scripts', 'build-asan.mjs')], { stdio: 'inherit' });
    if (status !== 0) {
      process.exitCode = 1;
      return;
    }
  }
  const env = isAsan ? await sanitizerEnvironment(fastSanitizer) : process.env;
  const loader = join(root, 'scripts', 'typescript.mjs');
  const args = ['--import', loader, join(root, 'fuzz', 'main.ts'), ...process.argv.slice(2)];
  const { status } = spawnSync(
    process.execPath,
    args.filter((argument) => argument !== ASAN),
    { env, stdio: 'inherit' },
  );
  process.exitCode = status ?? 1;
});
