/** Completion in the shells themselves: bash, and zsh and fish where they are installed. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { completedCommands, completionScript, type Shell, shells } from '#lib/cli/completion.js';
import { commands, createProgram } from '#lib/cli/program.js';
import { typeInto } from '../../testing/typing.ts';

const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
const path = (shell: Shell) => join(folder, `completion.${shell}`);
let program: Command;
beforeAll(async () => {
  program = await createProgram(commands.map(({ name }) => name));
  for (const shell of shells) writeFileSync(path(shell), completionScript(shell, program));
  writeFileSync(join(folder, 'm.sock'), '');
});
afterAll(() => rmSync(folder, { recursive: true }));

const has = (shell: Shell): boolean => spawnSync(shell, ['--version']).status === 0;

test('every command and option is in every script', () => {
  for (const shell of shells) {
    const script = completionScript(shell, program);
    for (const { name, options } of completedCommands(program)) {
      expect(script).toContain(name);
      for (const { flags } of options) expect(script).toContain(shell === 'fish' ? flags[0].slice(2) : flags[0]);
    }
  }
});

/** What is typed, up to the key that completes; what the command is given when it is entered then. */
const typed: readonly (readonly [string, string])[] = [
  ['postcopy rece', 'receive'],
  ['postcopy demo --gue', 'demo --guest'],
  ['postcopy demo --guest str', 'demo --guest stress'],
  ['postcopy demo --json --prefetch=x --trans', 'demo --json --prefetch=x --transport'],
  ['postcopy send tcp:far:1 --postcopy-pre', 'send tcp:far:1 --postcopy-preempt'],
  ['postcopy completion z', 'completion zsh'],
  ['postcopy help rel', 'help relay'],
  [`postcopy receive unix:${folder}/m.`, `receive unix:${folder}/m.sock`],
  [`postcopy inspect ${folder}/m.`, `inspect ${folder}/m.sock`],
];

/** What each reads when it starts, and how it is started so that it reads nothing else. */
const begins = {
  bash: { rc: 'bashrc', text: "PS1='READY\\#>'", command: ['bash', '--rcfile', join(folder, 'bashrc'), '-i'] },
  zsh: { rc: '.zshrc', text: "PS1='READY%h>'; autoload -U compinit; compinit -D -u", command: ['zsh', '-d', '-i'] },
};

describe.each(['bash', 'zsh'] as const)('%s', (shell) => {
  test.skipIf(!has(shell))('completes what is typed', async () => {
    const { rc, text, command } = begins[shell];
    const echo = 'postcopy() { echo "GIVEN <$*>"; }';
    writeFileSync(join(folder, rc), `${text}\nHISTFILE=\nsource ${path(shell)}\n${echo}\n`);
    const lines = [...typed.map(([line]) => `${line}\t\n`), 'exit\n'];
    const shown = await typeInto(command, lines, { ZDOTDIR: folder });
    const given = [...shown.matchAll(/GIVEN <([^>$]*)>/g)].map(([, words]) => words.trim());
    expect(given).toEqual(typed.map(([, words]) => words));
  });
});

describe('fish', () => {
  test.skipIf(!has('fish')).each(typed)('%s', async (text, words) => {
    const line = `source ${path('fish')}; complete -C ${JSON.stringify(text)}`;
    const { stdout } = await execa('fish', ['--no-config', '-c', line], { env: { HOME: folder } });
    const last = words.split(' ').at(-1);
    expect(stdout.split('\n').map((found) => found.split('\t')[0])).toContain(last);
  });
});
