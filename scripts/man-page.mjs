/** The manual page of the command in roff's man macros, made of what commander knows of it. Pure. */

/** Text as roff reads it: no line begins a request, hyphens are those of a terminal, and all of it is ASCII. */
function escaped(text) {
  const named = (character) => `\\[u${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}]`;
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/gm, '\\&$1')
    .replace(/[^\n -~]/gu, named);
}

/** Running text: paragraphs stay, line ends within them go. */
function prose(text) {
  return escaped(text)
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.replace(/\s*\n\s*/g, ' ').trim())
    .join('\n.PP\n');
}

/** Text as it stands. */
function verbatim(text) {
  return `.RS 4\n.nf\n${escaped(text.replace(/^ {2}/gm, '')).replace(/^$/gm, '\\&')}\n.fi\n.RE`;
}

function item(flags, text) {
  return `.TP\n.B ${escaped(flags)}\n${prose(text)}`;
}

/** What `--help` says of a command, without colours. */
function helpOf(command) {
  let help = '';
  command.configureOutput({ writeOut: (piece) => (help += piece), getOutHasColors: () => false });
  command.outputHelp();
  return help;
}

/** The text under one of the help's titles, to the next empty line but one. */
function underTitle(help, title) {
  return new RegExp(`^${title}:\\n((?:.+\\n?)+)`, 'm').exec(help)?.[1].trimEnd() ?? '';
}

function commandSection(command) {
  const help = helpOf(command);
  const layout = command.createHelp();
  const parts = [`.SS postcopy ${escaped(`${command.name()} ${command.usage()}`)}`, prose(command.description())];
  for (const argument of command.registeredArguments) parts.push(item(argument.name(), argument.description));
  for (const option of command.options) parts.push(item(option.flags, layout.optionDescription(option)));
  parts.push('.PP\nExamples:', verbatim(underTitle(help, 'Examples')));
  parts.push('.PP\nExit status:', verbatim(underTitle(help, 'Exit code')));
  return parts.join('\n');
}

/** The whole page of a program all of whose commands are loaded. */
export function manPage(program) {
  const commands = program.commands.filter((command) => command.name() !== 'help');
  return `${[
    `.TH POSTCOPY 1 "" "postcopy ${escaped(program.version())}" "User Commands"`,
    '.SH NAME',
    'postcopy \\- postcopy live migration on real userfaultfd',
    '.SH SYNOPSIS',
    '.B postcopy\n.I command\n.RI [ options ]',
    '.SH DESCRIPTION',
    `${prose(program.description())}.`,
    'A guest is stopped, only its device state is sent, it starts at the destination at once, and real page faults',
    'pull the pages that it touches while the rest streams in behind.',
    '.PP',
    'Results go to standard output, all else to standard error; with',
    '.B \\-\\-json',
    'the last line of standard output is one JSON object.',
    '.SH COMMANDS',
    ...commands.map(commandSection),
    '.SH ENVIRONMENT',
    prose(
      'Each option is also taken from the environment where the command line does not have it: --max-bandwidth from ' +
        'POSTCOPY_MAX_BANDWIDTH, and so on; of an option that takes no value, 1 or 0.',
    ),
    item('NO_COLOR', 'No colours, also on a terminal.'),
    item('FORCE_COLOR', 'Colours without a terminal; 0 is none.'),
    item('POSTCOPY_DEBUG', 'An error is followed by where in the code it was thrown.'),
    '.SH FILES',
    item('/dev/userfaultfd', 'Whoever may open it may use userfaultfd. "postcopy probe" says what else there is.'),
    item('/dev/kvm', 'For guests that are virtual machines.'),
    '.SH SEE ALSO',
    '.BR userfaultfd (2),\n.BR qemu (1),\n.BR criu (8)',
  ].join('\n')}\n`;
}
