/** Where lines can be drawn over, and where not. What is drawn is tested with what draws: live-line, *-progress. */
import { expect, test } from 'vitest';
import { terminalLines } from '#lib/cli/terminal-lines.js';

const stream = (terminal: { isTTY: boolean; columns?: number }, written: string[] = []) =>
  ({ rows: 24, write: (text: string) => written.push(text), ...terminal }) as unknown as NodeJS.WriteStream;

test('on a terminal, what was drawn is drawn over', async () => {
  const written: string[] = [];
  const lines = await terminalLines(stream({ isTTY: true, columns: 80 }, written));
  lines?.('first');
  lines?.('second');
  lines?.done();
  const text = written.join('');
  expect(text.slice(text.indexOf('first'), text.indexOf('second'))).toContain('\x1b[');
});

test.each([
  ['a file', { isTTY: false }],
  ['a terminal of no known width', { isTTY: true, columns: 0 }],
])('not on %s', async (_, terminal) => {
  expect(await terminalLines(stream(terminal))).toBeUndefined();
});
