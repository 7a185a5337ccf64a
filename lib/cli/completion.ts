/**
 * Completion scripts for shells, made of what commander knows of the commands: nothing is started to complete a word,
 * and what a new option takes is in them by itself. Pure.
 */
import type { Argument, Command, Option } from 'commander';

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/** What stands in the place of a value: words to choose from, or something of the file system, or anything. */
type Value =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'file' | 'directory' | 'uri' | 'any' };

interface CompletedOption {
  readonly flags: readonly string[];
  readonly description: string;
  /** Absent where it takes none. */
  readonly value?: Value;
  /** It may also stand without. */
  readonly isOptional: boolean;
}

interface CompletedCommand {
  readonly name: string;
  readonly description: string;
  readonly options: readonly CompletedOption[];
  readonly values: readonly Value[];
}

/** By the name of a value, as it stands between `<` and `>`. */
function valueNamed(name: string): Value {
  if (/\bdir$/.test(name)) return { kind: 'directory' };
  if (/^(file|path)$/.test(name)) return { kind: 'file' };
  if (/^(uri|in|out|where)$/.test(name)) return { kind: 'uri' };
  return { kind: 'any' };
}

function completedOption(option: Option): CompletedOption {
  const { long, short, description, argChoices: words, required, optional } = option;
  const name = /[<[](.*)[>\]]/.exec(option.flags)?.[1] ?? '';
  const value = words === undefined ? valueNamed(name) : { kind: 'words' as const, words };
  return {
    flags: [long, short].filter((flag) => flag !== undefined && flag !== null),
    description,
    isOptional: optional,
    ...(required || optional ? { value } : {}),
  };
}

function completedArgument(argument: Argument): Value {
  const { argChoices: words } = argument;
  return words === undefined ? valueNamed(argument.name()) : { kind: 'words', words };
}

/** The commands of a program, all of them loaded, as they are completed. */
export function completedCommands(program: Command): CompletedCommand[] {
  const help = { flags: ['--help', '-h'], description: 'display help for command', isOptional: false };
  return program.commands.map((command) => ({
    name: command.name(),
    description: command.description().split('\n', 1)[0],
    options: [...command.options.filter(({ hidden }) => !hidden).map(completedOption), help],
    values: command.registeredArguments.map(completedArgument),
  }));
}

// --- bash -------------------------------------------------------------------------------------------

const HEAD = '# Completion of postcopy, by "postcopy completion"';

/** As one word of a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

function bashValue(value: Value): string {
  switch (value.kind) {
    case 'words':
      return `_postcopy_words ${quoted(value.words.join(' '))}`;
    case 'file':
      return '_postcopy_files';
    case 'directory':
      return '_postcopy_files -d';
    case 'uri':
      return '_postcopy_uri';
    case 'any':
      return ':';
  }
}

/** What comes first among the values of a command is asked for at each place, as options may stand between them. */
function bashCommand({ name, options, values }: CompletedCommand): string {
  const taking = options.flatMap(({ flags, value, isOptional }) =>
    value === undefined || isOptional ? [] : [`      ${flags.join(' | ')}) ${bashValue(value)}; return ;;`],
  );
  const flags = options.flatMap((option) => option.flags).join(' ');
  const value = values.length === 0 ? ':' : bashValue(values[0]);
  return [
    `  ${name})`,
    '    case $before in',
    ...taking,
    '    esac',
    `    if [[ $word == -* ]]; then _postcopy_words ${quoted(flags)}; else ${value}; fi ;;`,
  ].join('\n');
}

function bashScript(commands: readonly CompletedCommand[]): string {
  const names = [...commands.map(({ name }) => name), 'help'].join(' ');
  return `${HEAD} bash. Where it is to be had:
#   source <(postcopy completion bash)
_postcopy_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$word"); }
_postcopy_files() {
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen "\${1:--f}" -- "$word")
}
# The shell takes a colon for the end of a word: what stands before it is there already.
_postcopy_uri() {
  if [[ $word == unix:* ]]; then
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "\${word#unix:}")
    [[ $COMP_WORDBREAKS == *:* ]] || COMPREPLY=("\${COMPREPLY[@]/#/unix:}")
  else
    compopt -o nospace
    _postcopy_words 'unix: tcp:'
  fi
}
_postcopy() {
  local line word before command
  # Words as they are typed, with their colons.
  read -ra line <<< "\${COMP_LINE:0:COMP_POINT}"
  [[ \${COMP_LINE:COMP_POINT-1:1} == ' ' ]] && line+=('')
  word=\${line[-1]} before=\${line[-2]} command=\${line[1]}
  COMPREPLY=()
  if (( \${#line[@]} <= 2 )); then
    if [[ $word == -* ]]; then _postcopy_words '--help --version'; else _postcopy_words ${quoted(names)}; fi
    return
  fi
  case $command in
  help) _postcopy_words ${quoted(names)} ;;
${commands.map(bashCommand).join('\n')}
  esac
}
complete -F _postcopy postcopy
`;
}

// --- zsh --------------------------------------------------------------------------------------------

/** Within a specification of _arguments. */
const zshText = (text: string): string => text.replace(/[[\]:\\]/g, '\\$&');

function zshValue(value: Value): string {
  switch (value.kind) {
    case 'words':
      return `(${value.words.join(' ')})`;
    case 'file':
      return '_files';
    case 'directory':
      return '_files -/';
    case 'uri':
      return '_postcopy_uri';
    case 'any':
      return ' ';
  }
}

function zshOption({ flags, description, value, isOptional }: CompletedOption): string[] {
  const takes = value === undefined ? '' : `${isOptional ? '::' : ':'}value:${zshValue(value)}`;
  return flags.map((flag) => `      ${quoted(`*${flag}[${zshText(description)}]${takes}`)}`);
}

function zshCommand({ name, options, values }: CompletedCommand): string {
  const places = values.map((value, index) => `      ${quoted(`${index + 1}:value:${zshValue(value)}`)}`);
  return `  ${name})
    _arguments \\
${[...options.flatMap(zshOption), ...places].join(' \\\n')} ;;`;
}

function zshScript(commands: readonly CompletedCommand[]): string {
  const described = commands.map(({ name, description }) => `    ${quoted(`${name}:${zshText(description)}`)}`);
  return `#compdef postcopy
${HEAD} zsh. Where it is to be had, after compinit:
#   source <(postcopy completion zsh)
_postcopy_uri() {
  if compset -P 'unix:'; then _files; else compadd -S '' -- unix: tcp:; fi
}
_postcopy() {
  local -a commands=(
${described.join('\n')}
    'help:display help for command'
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  shift words
  (( CURRENT -= 1 ))
  case $words[1] in
  help) _describe command commands ;;
${commands.map(zshCommand).join('\n')}
  esac
}
if [ "$funcstack[1]" = _postcopy ]; then _postcopy "$@"; else compdef _postcopy postcopy; fi
`;
}

// --- fish -------------------------------------------------------------------------------------------

function fishValue(value: Value): string {
  switch (value.kind) {
    case 'words':
      return ` -xa ${quoted(value.words.join(' '))}`;
    case 'file':
      return ' -rF';
    case 'directory':
      return " -xa '(__fish_complete_directories)'";
    case 'uri':
      return " -xa '(__postcopy_uri)'";
    case 'any':
      return ' -x';
  }
}

function fishOption(when: string, { flags, description, value, isOptional }: CompletedOption): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const takes = value === undefined || isOptional ? '' : fishValue(value);
  return `complete -c postcopy -n ${when} ${names.join(' ')}${takes} -d ${quoted(description)}`;
}

function fishCommand({ name, description, options, values }: CompletedCommand): string {
  const when = quoted(`__fish_seen_subcommand_from ${name}`);
  const value =
    values.length === 0 ? [] : [`complete -c postcopy -n ${when}${fishValue(values[0]).replace(' -x', ' -f')}`];
  return [
    `complete -c postcopy -n __fish_use_subcommand -a ${name} -d ${quoted(description)}`,
    ...options.map((option) => fishOption(when, option)),
    ...value.filter((line) => !line.endsWith(' -f')),
  ].join('\n');
}

function fishScript(commands: readonly CompletedCommand[]): string {
  const names = commands.map(({ name }) => name).join(' ');
  return `${HEAD} fish. Where it is to be had:
#   postcopy completion fish | source
function __postcopy_uri
    set -l word (commandline -ct)
    if string match -q 'unix:*' -- $word
        __fish_complete_path (string replace unix: '' -- $word) | string replace -r '^' unix:
    else
        printf '%s\\n' unix: tcp:
    end
end
complete -c postcopy -f
complete -c postcopy -n __fish_use_subcommand -a help -d 'display help for command'
complete -c postcopy -n '__fish_seen_subcommand_from help' -a ${quoted(names)}
${commands.map(fishCommand).join('\n')}
`;
}

const scripts: Readonly<Record<Shell, (commands: readonly CompletedCommand[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** The script for a shell. `program` has all of its commands loaded. */
export function completionScript(shell: Shell, program: Command): string {
  return scripts[shell](completedCommands(program));
}
