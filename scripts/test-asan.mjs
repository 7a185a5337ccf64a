/** Runs the tests on the addon of build-asan/: `npm run test:asan [-- vitest arguments]`. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { sanitizerEnvironment } from './sanitizers.mjs';
import { runScript } from './step.mjs';
import { root } from './toolchain.mjs';

await runScript(async () => {
  const env = await sanitizerEnvironment();
  const args = [join(root, 'scripts', 'test.mjs'), ...process.argv.slice(2)];
  process.exitCode = spawnSync(process.execPath, args, { cwd: root, env, stdio: 'inherit' }).status ?? 1;
});
