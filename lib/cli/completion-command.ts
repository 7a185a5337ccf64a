/** `postcopy completion`: prints a script that has a shell complete the commands. Exit code 0. */
import { Argument, type Command } from 'commander';
import { completionScript, type Shell, shells } from './completion.js';
import { addHelp } from './help.js';
import { commands, createProgram } from './program.js';

async function printScript(shell: Shell): Promise<void> {
  const program = await createProgram(commands.map(({ name }) => name));
  process.stdout.write(completionScript(shell, program));
}

/** Gives the command its argument, and what it does. */
export function define(command: Command): void {
  addHelp(command, {
    examples: [
      { line: 'postcopy completion bash > /etc/bash_completion.d/postcopy', does: 'For all users of bash:' },
      { line: 'postcopy completion zsh > ~/.zfunc/_postcopy', does: 'For zsh, where ~/.zfunc is in $fpath:' },
      { line: 'postcopy completion fish > ~/.config/fish/completions/postcopy.fish', does: 'For fish:' },
    ],
    succeeds: 'the script is printed',
    fails: 'it cannot be',
  });
  command.addArgument(new Argument('<shell>', 'the shell that it is for').choices(shells)).action(printScript);
}
