/**
 * Everything that must hold of the text: `npm run lint` checks it, `npm run format` (--write) mends what
 * a formatter can.
 *
 *   format and lint of TypeScript   biome.json
 *   format of C++                   .clang-format, with the clang-format that npm installs
 *   types of what is not compiled   tsconfig.test.json: tests, benches, examples
 *   reference of the API           typedoc.json: it can be made without a warning
 *   types of what esbuild compiles  lib/dashboard/page/tsconfig.json: the page that a browser runs
 *   lint of C++                     clang-tidy where it is installed, else g++ with more warnings, as errors
 *
 * Every check runs, whatever the others found; the exit status is 1 when one of them failed.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { run, runScript, StepError, step, withProgressLine } from './step.mjs';
import { nodeGyp, root } from './toolchain.mjs';

const write = process.argv.includes('--write');
const modules = join(root, 'node_modules');
const inRoot = { cwd: root };

/** Beyond the flags of the build. -Wnull-dereference needs the optimizer, so the files are really compiled. */
const gccWarnings = [
  ...['-Werror', '-Wall', '-Wextra', '-Wpedantic', '-Wshadow', '-Wconversion', '-Wnull-dereference'],
  ...['-Wnon-virtual-dtor', '-Woverloaded-virtual', '-Wformat=2', '-Wduplicated-cond', '-Wlogical-op', '-Wundef'],
];

/**
 * What clang-tidy looks for: defects, not taste. Left out are checks that this code trips by design (a
 * `release()` that hands over ownership, products of small ints) and one that is wrong about thread_local
 * buffers; the sanitizer build covers what that one is for.
 */
const clangTidyChecks = [
  ...['-*', 'bugprone-*', 'clang-analyzer-*', 'concurrency-mt-unsafe', 'performance-*'],
  ...['-bugprone-easily-swappable-parameters', '-bugprone-unused-return-value'],
  ...['-bugprone-implicit-widening-of-multiplication-result', '-clang-analyzer-cplusplus.NewDelete'],
].join(',');

/** The addon, the program that runs in the tests' guest, and the one that the benches run. */
const cppFolders = ['native', join('testing', 'qemu'), join('bench', 'native')];

function cppFiles(ending) {
  return cppFolders.flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => ending.test(name))
      .sort()
      .map((name) => join(folder, name)),
  );
}

function biome() {
  const script = join(modules, '@biomejs', 'biome', 'bin', 'biome');
  const mode = write ? ['check', '--write'] : ['check'];
  return step(
    'biome',
    process.execPath,
    [script, ...mode, '--error-on-warnings', '--max-diagnostics=200', '.'],
    inRoot,
  );
}

function clangFormat() {
  const script = join(modules, '@wasm-fmt', 'clang-format', 'clang-format-cli.cjs');
  const mode = write ? ['-i'] : ['--dry-run', '--Werror'];
  return step('clang-format', process.execPath, [script, ...mode, ...cppFiles(/\.(cc|h)$/)], inRoot);
}

/** What TypeScript says of what the build does not compile; and TypeDoc, which warns of what the reference lacks. */
const typePrograms = [
  ['types of tests', 'typescript/bin/tsc', ['-p', 'tsconfig.test.json']],
  ['types of the page', 'typescript/bin/tsc', ['-p', 'lib/dashboard/page']],
  ['reference', 'typedoc/bin/typedoc', ['--emit', 'none']],
];

/** All at once, as each has one thread. */
function types() {
  return allOf(
    'types and reference',
    typePrograms.map(
      ([name, script, args]) =>
        () =>
          run(name, process.execPath, [join(modules, script), ...args], inRoot),
    ),
  );
}

/** One step of several that go on at once, as many as there are processors. */
async function allOf(name, pending) {
  const failures = [];
  const work = async () => {
    for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
      await next().catch((error) => failures.push(error.message));
    }
  };
  await withProgressLine(name, async () => {
    await Promise.all(Array.from({ length: availableParallelism() }, work));
    if (failures.length > 0) throw new StepError(failures.join('\n'));
  });
}

/**
 * How the build compiles each file, from gyp itself: one source of flags. Headers of others are made
 * system headers, whose warnings are not ours.
 */
async function compileCommands() {
  const [command, args] = nodeGyp('configure');
  await step('compile commands', command, [...args, '--', '-f', 'compile_commands_json'], inRoot);
  const path = join(root, 'build', 'Release', 'compile_commands.json');
  return JSON.parse(readFileSync(path, 'utf8')).map((entry) => entry.command.replaceAll(' -I', ' -isystem '));
}

/** The linter at hand: its name, and the shell command that makes it read what `compile` compiles. */
function cppLinter() {
  if (spawnSync('clang-tidy', ['--version'], { stdio: 'ignore' }).status !== 0) {
    process.stderr.write('clang-tidy is not installed: g++ with more warnings stands in (package "clang-tidy")\n');
    return { name: 'g++ warnings', command: (compile) => `${compile} ${gccWarnings.join(' ')} -O2 -S -o /dev/null` };
  }
  return {
    name: 'clang-tidy',
    command: (compile) => {
      const [flags, file] = compile.replace(/^\S+ /, '').split(' -c ');
      return `clang-tidy --quiet --warnings-as-errors='*' --checks='${clangTidyChecks}' '${file}' -- ${flags}`;
    },
  };
}

async function lintCpp() {
  const compiles = await compileCommands();
  const { name, command } = cppLinter();
  await allOf(
    name,
    compiles.map((compile) => () => run(name, 'sh', ['-c', command(compile)], inRoot)),
  );
}

await runScript(async () => {
  const failures = [];
  for (const check of write ? [biome, clangFormat] : [biome, clangFormat, types, lintCpp]) {
    await check().catch((error) => {
      if (!(error instanceof StepError)) throw error;
      failures.push(error.message);
    });
  }
  if (failures.length > 0) throw new StepError(failures.join('\n\n'));
});
