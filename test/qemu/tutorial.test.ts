/** The tutorial's section "With QEMU": its commands, line by line as they stand there, with a real QEMU. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Heard } from '../../testing/qemu/heard.ts';

const root = new URL('../../', import.meta.url);
const main = fileURLToPath(new URL('dist/cli/main.js', root));
const PROMPT = '(qemu) ';

let folder: string;
let processes: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => {
  for (const child of processes) child.kill('SIGKILL');
  processes = [];
  rmSync(folder, { recursive: true });
});

/** The lines of the section that are typed, in order; sockets and the directory in a folder of their own. */
function typedLines(): string[] {
  const tutorial = readFileSync(new URL('docs/tutorial.md', root), 'utf8');
  const [, section = ''] = /^## 6\. With QEMU\n(.*)$/ms.exec(tutorial) ?? [];
  const blocks = [...section.matchAll(/^```console\n(.*?)^```/gms)].map(([, block]) => block);
  return blocks
    .join('')
    .trimEnd()
    .split('\n')
    .map((line) => line.replaceAll('/tmp/', `${folder}/`).replace('parked', `${folder}/parked`));
}

interface Started {
  readonly output: Heard<string>;
  readonly exited: Promise<number | null>;
  type(line: string): void;
}

function start(command: string): Started {
  const [program, ...args] = command.replace(/^npx postcopy/, `${process.execPath} ${main}`).split(' ');
  const child = spawn(program, args, { stdio: 'pipe' });
  processes.push(child);
  const output = new Heard<string>({ who: command, show: (text) => JSON.stringify(text) });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => output.add(String(bytes)));
  const exited = new Promise<number | null>((resolve) => {
    child.on('exit', (code) => {
      output.end(`it exited with ${code}`);
      resolve(code);
    });
  });
  return { output, exited, type: (line) => child.stdin.write(`${line}\n`) };
}

const textOf = ({ output }: Started): string => output.all.join('');

/** Waits until they have ended, each well. */
async function ended(commands: readonly Started[]): Promise<void> {
  for (const command of commands) {
    expect({ exit: await command.exited, text: textOf(command) }).toMatchObject({ exit: 0 });
  }
}

/** Waits until what it has printed so far, from `from` on, matches. */
const says = (started: Started, pattern: RegExp, from = 0): Promise<unknown> =>
  started.output.first(String(pattern), () => pattern.test(textOf(started).slice(from)));

/** Each line is typed when the one before has had its effect: whoever types sees a prompt, or that it listens. */
test('its commands do what it says', { timeout: 120_000 }, async () => {
  const ours: Started[] = [];
  let qemu: Started | undefined;
  for (const line of typedLines()) {
    if (line.startsWith('$ qemu-system')) {
      if (line.includes('-incoming')) await ended(ours); // who goes on has seen the command before end
      qemu = start(line.slice(2));
      await says(qemu, /\(qemu\) /);
    } else if (line.startsWith('$ npx postcopy')) {
      const started = start(line.slice(2));
      ours.push(started);
      if (line.includes(' receive ')) await says(started, /listening at/);
      else await ended([started]);
    } else {
      expect(line).toMatch(/^\(qemu\) /);
      const before = textOf(qemu as Started).length;
      qemu?.type(line.slice(PROMPT.length));
      await says(qemu as Started, /\n\(qemu\) $/, before);
    }
  }
  const [receive, send] = ours;
  expect(textOf(receive)).toMatch(/saved /);
  expect(textOf(send)).toMatch(/postcopy/);
  expect(textOf(qemu as Started)).toMatch(/VM status: running/);
});
