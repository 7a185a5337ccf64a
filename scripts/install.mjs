/**
 * npm's "install" script: makes sure that there is an addon for this host.
 *
 * Runs at the user of the package, where only its dependencies and npm exist, and in a checkout. A
 * prebuilt binary that loads in this Node is taken in silence; elsewhere the addon is built from the
 * sources that the package carries. The parts that need no addon work on any platform, so a host
 * that is not Linux is told so and is no failure.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { missingTools, nodeGyp, prebuiltAddon, root } from './toolchain.mjs';

const target = `${process.platform}-${process.arch}`;

/** Why the prebuilt binary can't be used, or undefined where it can. */
function prebuiltProblem() {
  // A checkout holds the sources that its addon must match; a binary left by `npm pack` may be older.
  if (existsSync(join(root, 'lib'))) return 'a checkout builds its own addon';
  if (!existsSync(prebuiltAddon)) return `no prebuilt binary for ${target}`;
  try {
    createRequire(import.meta.url)(prebuiltAddon);
    return undefined;
  } catch (error) {
    return `the prebuilt binary for ${target} does not load here (${error.message})`;
  }
}

function buildFromSource(reason) {
  console.error(`postcopy: ${reason}: building from source, needs python3, make, g++`);
  const missing = missingTools();
  if (missing.length > 0) {
    for (const sentence of missing) console.error(`postcopy: ${sentence}`);
    return 1;
  }
  const [command, args] = nodeGyp('configure', 'build');
  if (spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status === 0) return 0;
  console.error('postcopy: the addon did not build; the reason is above. Once mended, run "npm rebuild postcopy".');
  return 1;
}

function main() {
  if (process.platform !== 'linux') {
    console.error('postcopy: userfaultfd is a Linux facility; on this platform only the wire format can be used.');
    return 0;
  }
  const problem = prebuiltProblem();
  return problem === undefined ? 0 : buildFromSource(problem);
}

process.exitCode = main();
