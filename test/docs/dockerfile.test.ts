/** Dockerfile and .dockerignore, as far as they can be held against the repository without a Docker. */
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

/** Instructions by stage, lines that go on joined. */
const stages = read('Dockerfile')
  .replaceAll(/^#.*\n/gm, '')
  .replaceAll(/\\\n\s*/g, '')
  .split(/^(?=FROM )/m)
  .map((stage) => stage.split('\n').filter((line) => line.trim() !== ''))
  .filter((stage) => stage.length > 0);
const [build, final] = stages;
const { scripts, bin, engines, files } = JSON.parse(read('package.json'));
const ignored = read('.dockerignore').trim().split('\n');

test('both stages are of one image, with a Node that is supported: the addon of one runs in the other', () => {
  const images = stages.map(([from]) => from.split(' ')[1]);
  expect(images.length).toBe(2);
  expect(new Set(images).size).toBe(1);
  const [, major] = /^node:(\d+)-\S+-slim$/.exec(images[0]) ?? [];
  expect(Number(major)).toBeGreaterThanOrEqual(Number(/\d+/.exec(engines.node)?.[0]));
});

test('the build has the tools that the build takes, and runs scripts that there are', () => {
  const [, tools = ''] = /--no-install-recommends (.*?) &&/.exec(build.join('\n')) ?? [];
  expect(tools.trim().split(' ').sort()).toEqual(['g++', 'make', 'python3']);
  for (const tool of tools.trim().split(' ')) expect(read('CONTRIBUTING.md')).toContain(tool);
  for (const [, script] of build.join('\n').matchAll(/npm run (\S+)/g)) expect(scripts[script]).toBeDefined();
  expect(scripts.prepack).toBeDefined(); // puts the addon into what npm packs
});

test('nothing that the package is made of is kept from the build, and nothing that was built goes in', () => {
  const isIgnored = (path: string) =>
    ignored.some((pattern) => new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '[^/]*')}$`).test(path));
  const made = ['dist', 'prebuilds', 'man', '!docs/api'];
  for (const path of (files as string[]).filter((each) => !made.includes(each))) {
    expect([path, existsSync(new URL(path, root)), isIgnored(path)]).toEqual([path, true, false]);
  }
  for (const path of ['lib', 'scripts', 'package-lock.json', 'tsconfig.json', 'binding.gyp']) {
    expect(isIgnored(path)).toBe(false);
  }
  for (const path of ['node_modules', 'dist', 'build', 'build-asan', 'build-bench', '.git', 'prebuilds', 'man']) {
    expect(isIgnored(path)).toBe(true);
  }
});

test('it runs the command, as a user who is not root', () => {
  const [, out] = /--pack-destination (\S+)/.exec(build.join('\n')) ?? [];
  expect(final.find((line) => line.startsWith('COPY '))).toContain(`--from=build ${out} `);
  const [, command] = /^ENTRYPOINT \["(\w+)"\]$/m.exec(final.join('\n')) ?? [];
  expect(Object.keys(bin)).toContain(command);
  expect(final.find((line) => line.startsWith('USER '))).toBe('USER node');
});

test('how it is built and run stands in the documents too', () => {
  const lines = [...read('Dockerfile').matchAll(/^# {3}(docker .*)$/gm)].map(([, line]) => line);
  expect(lines.length).toBe(2);
  expect(read('README.md')).toContain(lines[0]);
  for (const line of lines) expect(`${read('README.md')}${read('docs/containers.md')}`).toContain(line);
});
