/**
 * npm's "prepack" script, after the build: puts the addon, stripped, where the package carries it, and makes the manual
 * page.
 *
 * The binary in prebuilds/ is for this platform and processor only; binaries for others that were put
 * beside it are left alone.
 */
import { chmodSync, copyFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { runScript, step } from './step.mjs';
import { builtAddon, prebuiltAddon } from './toolchain.mjs';

await runScript(async () => {
  mkdirSync(dirname(prebuiltAddon), { recursive: true });
  copyFileSync(builtAddon, prebuiltAddon);
  chmodSync(prebuiltAddon, 0o755);
  await import('./man.mjs');
  await step('strip', 'strip', ['--strip-unneeded', prebuiltAddon]);
});
