/** The manual page of the commands as they are: it has all of them, and roff has nothing to say against it. */
import { spawnSync } from 'node:child_process';
import { beforeAll, expect, test } from 'vitest';
import { commands, createProgram } from '#lib/cli/program.js';
// @ts-expect-error: a script in plain JavaScript
import { manPage } from '../../scripts/man-page.mjs';

let page: string;
beforeAll(async () => {
  page = manPage(await createProgram(commands.map(({ name }) => name)));
});

test('has every command, with its options, examples and exit codes', () => {
  for (const { name } of commands) {
    const [, section = ''] = page.split(`.SS postcopy ${name} `);
    const [own] = section.split(/^\.S[SH] /m);
    expect(own).toContain('\\-\\-');
    expect(own).toMatch(/^\$ postcopy|^ {2}\$ postcopy/m);
    expect(own).toContain('130');
  }
});

test('no line of text is taken for a request', () => {
  const known = /^\.(TH|SH|SS|TP|PP|B|I|BR|RI|RS|RE|nf|fi)\b/;
  const requests = page.split('\n').filter((line) => /^[.']/.test(line));
  expect(requests.filter((line) => !known.test(line))).toEqual([]);
});

const formatters = [
  ['mandoc', '-Tlint', '-Wwarning'],
  ['groff', '-man', '-Tutf8', '-ww', '-z'],
] as const;
const formatter = formatters.find(([command]) => spawnSync('which', [command]).status === 0);

test.runIf(formatter !== undefined)('is well formed', () => {
  const [command, ...args] = formatter ?? ['true'];
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', input: page });
  expect(`${stdout}${stderr}`).toBe('');
});
