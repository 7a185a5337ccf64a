/** What `--help` says beside the options: examples, exit codes, the environment; and how it all looks. */
import type { Command, Help, Option } from 'commander';
import { stdoutColours } from './colours.js';

export interface Example {
  /** As it is typed. */
  readonly line: string;
  readonly does: string;
}

export interface HelpParts {
  /** What the command does, in a few sentences, where its one line does not say it all. */
  readonly about?: string;
  readonly examples: readonly Example[];
  /** What exit code 0 means, and what 1. */
  readonly succeeds: string;
  readonly fails: string;
  /** Whatever else is to be known, in paragraphs. */
  readonly more?: string;
}

const title = (text: string): string => stdoutColours.bold(text);

function examplesText(examples: readonly Example[]): string {
  return [title('Examples:'), ...examples.map(({ line, does }) => `  ${does}\n    $ ${line}`)].join('\n');
}

function exitCodesText({ succeeds, fails }: HelpParts): string {
  const codes: readonly (readonly [number, string])[] = [
    [0, succeeds],
    [1, fails],
    [2, 'the command line cannot be understood'],
    [130, 'interrupted'],
  ];
  return [title('Exit code:'), ...codes.map(([code, means]) => `  ${String(code).padEnd(3)}  ${means}`)].join('\n');
}

const ENVIRONMENT = `Each option is also taken from the environment where the command line does
not have it, --max-bandwidth from POSTCOPY_MAX_BANDWIDTH. NO_COLOR, FORCE_COLOR
and POSTCOPY_DEBUG are heeded (docs/command-line.md).`;

/** Gives the command its help. */
export function addHelp(command: Command, parts: HelpParts): void {
  const { about, examples, more } = parts;
  if (about !== undefined) command.description(`${command.description()}\n\n${about}`);
  const text = [
    examplesText(examples),
    exitCodesText(parts),
    ...(more === undefined ? [] : [more.trim()]),
    ENVIRONMENT,
  ];
  command.addHelpText('after', `\n${text.join('\n\n')}`);
}

/** `(unix, tcp; default: unix)`: a default as people write it. */
function optionNotes({ argChoices, defaultValue, defaultValueDescription, negate }: Option): string {
  const preset = defaultValueDescription ?? (typeof defaultValue === 'boolean' ? undefined : defaultValue);
  const notes = [
    ...(argChoices === undefined ? [] : [argChoices.join(', ')]),
    ...(preset === undefined || negate ? [] : [`default: ${preset}`]),
  ];
  return notes.length === 0 ? '' : ` (${notes.join('; ')})`;
}

/** For `configureHelp`. The one line of a command among others is the first of its description. */
export const helpLayout: Partial<Help> = {
  optionDescription: (option) => `${option.description}${optionNotes(option)}`,
  subcommandDescription: (command) => command.description().split('\n', 1)[0],
  styleTitle: (text) => title(text),
};
