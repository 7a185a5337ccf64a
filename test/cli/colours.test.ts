/** When there are colours: decided, and on a real terminal. */
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { hasColours } from '#lib/cli/colours.js';
import { runOnTerminal } from '../../testing/terminal.ts';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const ESCAPE = '\u001b[';

test.each([
  [true, {}, true],
  [false, {}, false],
  [undefined, { CI: 'true' }, false],
  [true, { TERM: 'dumb' }, false],
  [true, { NO_COLOR: '1' }, false],
  [true, { NO_COLOR: '' }, true],
  [true, { NO_COLOR: '1', FORCE_COLOR: '1' }, false],
  [false, { FORCE_COLOR: '1' }, true],
  [true, { FORCE_COLOR: '0' }, false],
])('terminal %s with %j: %s', (isTTY, environment, coloured) => {
  expect(hasColours({ isTTY }, environment)).toBe(coloured);
});

describe('the command', () => {
  test('is coloured on a terminal, and an error as well where only that goes there', async () => {
    expect((await runOnTerminal([main, 'probe'])).terminal).toContain(ESCAPE);
    expect((await runOnTerminal([main, 'inspect', '/nowhere'], {}, 'pipe')).terminal).toContain(
      `${ESCAPE}31mpostcopy:`,
    );
  });

  test('is not where NO_COLOR is set, nor a result that goes elsewhere', async () => {
    expect((await runOnTerminal([main, 'probe'], { NO_COLOR: '1' })).terminal).not.toContain(ESCAPE);
    const piped = await runOnTerminal([main, 'probe'], {}, 'pipe');
    expect(piped.stdout).toContain('userfaultfd');
    expect(piped.stdout).not.toContain(ESCAPE);
  });

  test('without a terminal only where FORCE_COLOR is set', async () => {
    const probe = async (env: Record<string, string | undefined>) =>
      (await execa(process.execPath, [main, 'probe'], { env: { NO_COLOR: undefined, ...env } })).stdout;
    expect(await probe({ CI: 'true' })).not.toContain(ESCAPE);
    expect(await probe({ FORCE_COLOR: '1' })).toContain(ESCAPE);
  });
});
