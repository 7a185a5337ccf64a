/**
 * Builds the addon with the address and undefined-behaviour sanitizers into build-asan/ (CMakeLists.txt).
 * Needs cmake beside the compiler.
 */
import { join } from 'node:path';
import { runScript, step } from './step.mjs';
import { bundledHeaders, root } from './toolchain.mjs';

await runScript(async () => {
  const cmakeJs = join(root, 'node_modules', 'cmake-js', 'bin', 'cmake-js');
  // cmake-js reads npm's setting for the place of the Node headers; without one it downloads them.
  const headers = bundledHeaders();
  const env = headers === undefined ? process.env : { ...process.env, npm_config_nodedir: headers };
  const args = [cmakeJs, 'compile', '--debug', '--out', 'build-asan'];
  await step('addon with sanitizers', process.execPath, args, { cwd: root, env });
});
