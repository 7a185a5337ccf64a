/**
 * The package as its users get it: packed, installed into empty folders from the registry, and used with
 * each Node that is supported, from JavaScript, TypeScript and the command line.
 *
 * Needs the registry that npm is set to, and the toolchain for the build from source.
 */
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const target = `${process.platform}-${process.arch}`;
const SLOW_MS = 300_000;

/** npm's settings that say how to reach the registry and the Node headers. */
const keptSettings = /^npm_config_(registry|cache|userconfig|globalconfig|nodedir|cafile|proxy|https_proxy|noproxy)$/i;

/** The environment without what `npm test` and the sanitizer run add: some of it would lead an npm back here. */
const userEnvironment: Readonly<Record<string, string | undefined>> = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_|^INIT_CWD$|^NODE_PATH$|^LD_PRELOAD$|^POSTCOPY_/i.test(name) || keptSettings.test(name),
    ),
  ),
  // That it builds is the question, and not how fast it is then.
  CXXFLAGS: '-O0',
};

interface Outcome {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command as a user would; `node` may name the binary that the command's own `node` shall be. */
async function run(cwd: string, command: string, args: readonly string[], node = process.execPath): Promise<Outcome> {
  const env = { ...userEnvironment, PATH: `${dirname(node)}${delimiter}${userEnvironment.PATH}` };
  const { exitCode, stdout, stderr } = await execa(command, args, { cwd, env, extendEnv: false, reject: false });
  return { exitCode, stdout, stderr };
}

/** The same where only success will do. */
async function succeed(cwd: string, command: string, args: readonly string[], node?: string): Promise<Outcome> {
  const outcome = await run(cwd, command, args, node);
  const told = `${command} ${args.join(' ')}\n${outcome.stdout}\n${outcome.stderr}`;
  expect(outcome.exitCode, told).toBe(0);
  return outcome;
}

let folder: string;
let tarball: string;

/** An empty project with the package of `from` installed. */
async function consumer(name: string, from: string, ...options: string[]): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  await writeFile(join(path, 'package.json'), JSON.stringify({ name, private: true }));
  await succeed(path, 'npm', ['install', '--no-audit', '--no-fund', ...options, from]);
  return path;
}

/** The package without its prebuilt binary, as a host that none fits sees it. */
async function packWithoutPrebuilt(): Promise<string> {
  const unpacked = join(folder, 'unpacked');
  const repacked = join(folder, 'without-prebuilt.tgz');
  if (existsSync(repacked)) return repacked;
  await mkdir(unpacked, { recursive: true });
  await succeed(unpacked, 'tar', ['-xzf', tarball]);
  await rm(join(unpacked, 'package', 'prebuilds'), { recursive: true });
  await succeed(unpacked, 'tar', ['-czf', repacked, 'package']);
  return repacked;
}

/** Loads the addon and makes one call: prints what it answered, or how it failed. */
const useAddon = `
  await import('postcopy');
  const { native } = await import('./node_modules/postcopy/dist/native.js');
  try {
    console.log(typeof native().monotonicUs());
  } catch (error) {
    console.log(error.code + ': ' + error.message);
  }
`;

async function expectWorks(path: string, node?: string): Promise<void> {
  const loaded = await succeed(path, 'node', ['--input-type=module', '-e', useAddon], node);
  expect(loaded.stdout).toBe('number');
  const { stdout } = await succeed(path, join(path, 'node_modules', '.bin', 'postcopy'), ['probe', '--json'], node);
  const report = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
  expect(report).toMatchObject({
    kernel: expect.any(String),
    userfaultfd: { available: expect.any(Boolean) },
    problems: expect.any(Array),
  });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postcopy-package-'));
  await succeed(root, 'npm', ['pack', '--pack-destination', folder]);
  const [packed] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'));
  tarball = join(folder, packed);
}, SLOW_MS);

afterAll(() => rm(folder, { recursive: true, force: true }));

describe('the tarball', { timeout: SLOW_MS }, () => {
  it('holds what users need and nothing else', async () => {
    const { stdout } = await succeed(folder, 'tar', ['-tzf', tarball]);
    const paths = stdout.split('\n').map((path) => path.replace(/^package\//, ''));
    const needed = [
      'dist/index.js',
      'dist/index.d.ts',
      'dist/wire/index.js',
      'dist/cli/main.js',
      'binding.gyp',
      'LICENSE',
    ];
    const docs = [
      'README.md',
      'man/postcopy.1',
      'CHANGELOG.md',
      'native/addon.cc',
      `prebuilds/${target}/postcopy.node`,
    ];
    const scripts = ['package.json', 'scripts/install.mjs', 'scripts/toolchain.mjs'];
    expect([...needed, ...docs, ...scripts].filter((path) => !paths.includes(path))).toEqual([]);
    const known = /^(dist|native|docs|man|prebuilds)\/|^(binding\.gyp|LICENSE|README\.md|CHANGELOG\.md)$/;
    expect(paths.filter((path) => !known.test(path) && !scripts.includes(path))).toEqual([]);
  });
});

describe('installed with its prebuilt binary', { timeout: SLOW_MS }, () => {
  let path: string;
  beforeAll(async () => {
    path = await consumer('prebuilt', tarball);
  }, SLOW_MS);

  it('works, without having built anything', async () => {
    expect(existsSync(join(path, 'node_modules', 'postcopy', 'build'))).toBe(false);
    await expectWorks(path);
  });

  it('works in Node 24', async () => {
    const folderOfNode = join(folder, 'node-24');
    await mkdir(folderOfNode);
    await writeFile(join(folderOfNode, 'package.json'), '{"private":true}');
    // The binary itself: the package "node" gets it by an install script.
    const name = `node-${target}`;
    await succeed(folderOfNode, 'npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', `${name}@24`]);
    const node = join(folderOfNode, 'node_modules', name, 'bin', 'node');
    expect((await succeed(path, 'node', ['--version'], node)).stdout).toMatch(/^v24\./);
    await expectWorks(path, node);
  });

  it('type-checks in a strict TypeScript project', async () => {
    const project = join(path, 'typed');
    await mkdir(project);
    const compilerOptions = {
      ...{ module: 'nodenext', moduleResolution: 'nodenext', target: 'es2022', strict: true, noEmit: true },
      ...{ lib: ['es2022', 'esnext.disposable'], types: ['node'], typeRoots: [join(root, 'node_modules', '@types')] },
    };
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.mts'] }));
    const uses = `import { migrate, listen } from 'postcopy';\nimport * as wire from 'postcopy/wire';\n`;
    const right = 'export const all: [Function, Function, object] = [migrate, listen, wire];\n';
    // Types that are really there refuse a wrong use.
    const wrong = 'export const a: string = migrate;\nlisten(1, 2, 3, 4, 5);\n';
    await writeFile(join(project, 'right.mts'), `${uses}${right}`);
    await writeFile(join(project, 'wrong.mts'), `${uses}${wrong}`);
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const { stdout } = await run(project, 'node', [tsc, '-p', project]);
    const errors = stdout.split('\n').filter((line) => line.includes('error TS'));
    expect(errors).toEqual([
      expect.stringMatching(/^wrong\.mts\(3,14\): error TS2322/),
      expect.stringMatching(/^wrong\.mts\(4,/),
    ]);
  });
});

describe('installed where no prebuilt binary fits', { timeout: SLOW_MS }, () => {
  it('names the missing tool and its fix', async () => {
    await packWithoutPrebuilt();
    const path = join(folder, 'no-toolchain');
    await cp(join(folder, 'unpacked', 'package'), path, { recursive: true });
    const { exitCode, stderr } = await run(path, 'env', ['CXX=no-such-compiler', 'node', 'scripts/install.mjs']);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`no prebuilt binary for ${target}: building from source`);
    expect(stderr).toContain('postcopy: g++ is missing, which the build of the addon needs: install the package "g++"');
    expect(stderr).not.toContain('    at ');
  });

  it('says in one sentence what to do when scripts were not allowed, and works when that is done', async () => {
    const path = await consumer('from-source', await packWithoutPrebuilt(), '--ignore-scripts');
    const { stdout } = await succeed(path, 'node', ['--input-type=module', '-e', useAddon]);
    const fix = 'build it with "npm rebuild postcopy" (needs python3, make and g++)';
    expect(stdout).toBe(`ADDON_MISSING: no usable native addon for ${target}: ${fix}`);
    const told = await run(path, join(path, 'node_modules', '.bin', 'postcopy'), ['probe']);
    expect(told.exitCode).not.toBe(0);
    expect(`${told.stdout}${told.stderr}`).toContain('npm rebuild postcopy');
    expect(told.stderr).not.toContain('    at ');

    // What npm does where scripts are allowed, too.
    const quickly = 'CXXFLAGS=-O0'; // that it is built is what counts
    await succeed(path, 'env', [quickly, 'npm', 'rebuild', 'postcopy', '--foreground-scripts']);
    expect(existsSync(join(path, 'node_modules', 'postcopy', 'build', 'Release', 'postcopy.node'))).toBe(true);
    await expectWorks(path);
  });
});
