/** docs/convergence.md: the command prints what stands there. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, test } from 'vitest';

const root = new URL('../../', import.meta.url);
const main = fileURLToPath(new URL('dist/cli/main.js', root));
const doc = readFileSync(new URL('docs/convergence.md', root), 'utf8');

test('the forecast from figures', async () => {
  const [, line = '', printed] = /^```sh\nnpx postcopy (.*)\n```\n\n```\n(.*?)\n```/ms.exec(doc) ?? [];
  const { stdout, exitCode } = await execa(process.execPath, [main, ...line.split(' ')], { reject: false });
  expect(stdout).toBe(printed);
  expect(exitCode).toBe(1);
});
