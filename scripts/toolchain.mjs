/**
 * The C++ toolchain: what a build of the addon needs, and how node-gyp is called.
 *
 * Imported by the scripts that build, and by the package's install script: it must need nothing but
 * Node and npm, as it runs where the development dependencies are not installed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json. */
export const root = fileURLToPath(new URL('..', import.meta.url));

/** The addon as a build of this folder leaves it. */
export const builtAddon = join(root, 'build', 'Release', 'postcopy.node');

/** The addon as the package carries it for this platform and processor. */
export const prebuiltAddon = join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'postcopy.node');

/** Each tool, the variable that may name another one, and the fix. */
const tools = [
  { name: 'python3', variable: 'PYTHON', fix: 'install the package "python3"' },
  { name: 'make', variable: 'MAKE', fix: 'install the package "make"' },
  { name: 'g++', variable: 'CXX', fix: 'install the package "g++" ("gcc-c++" on Fedora and its like)' },
];

/** One sentence, with the fix, for each tool that a build of the addon needs and this host lacks. */
export function missingTools() {
  return tools
    .filter(({ name, variable }) => {
      const [command] = (process.env[variable] || name).trim().split(/\s+/);
      return spawnSync(command, ['--version'], { stdio: 'ignore' }).status !== 0;
    })
    .map(
      ({ name, variable, fix }) =>
        `${name} is missing, which the build of the addon needs: ${fix}, or name one in the variable ${variable}.`,
    );
}

/** The Node headers that came with this Node, or undefined: node-gyp then downloads them. */
export function bundledHeaders() {
  if (process.env.npm_config_nodedir) return undefined;
  const prefix = dirname(dirname(realpathSync(process.execPath)));
  return existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? prefix : undefined;
}

/** The command and arguments that run node-gyp's `commands` here. Throws where there is no node-gyp. */
export function nodeGyp(...commands) {
  const require = createRequire(import.meta.url);
  const script = process.env.npm_config_node_gyp || require.resolve('node-gyp/bin/node-gyp.js');
  const headers = bundledHeaders();
  return [process.execPath, [script, ...commands, '--jobs=max', ...(headers ? [`--nodedir=${headers}`] : [])]];
}
