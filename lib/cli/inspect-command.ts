/**
 * `postcopy inspect`: what a recorded connection of a migration holds, and whether it is whole. The result
 * goes to stdout, progress to stderr; exit code 0 only for a complete recording.
 */
import { once } from 'node:events';
import type { Command } from 'commander';
import { MigrationError } from '../errors.js';
import { type ByteSource, openSource, STDIN } from '../inspect/byte-source.js';
import { type Inspection, inspect, readContext } from '../inspect/inspect.js';
import { EXIT_FAILURE } from './command-line.js';
import { addHelp } from './help.js';
import { createInspectProgress, type InspectProgress } from './inspect-progress.js';
import { deviceText, inspectTable } from './inspect-table.js';

interface InspectCommandOptions {
  readonly json?: boolean;
  readonly records?: boolean;
  readonly device?: string;
  readonly main?: string;
}

/** Text on its way to stdout, kept until {@link flush}, so that a slow reader slows us down. */
class Output {
  #lines: string[] = [];

  line(text: string): void {
    this.#lines.push(text);
  }

  async flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    const text = `${this.#lines.join('\n')}\n`;
    this.#lines = [];
    if (!process.stdout.write(text)) await once(process.stdout, 'drain');
  }
}

/** Whoever reads the output may have seen enough, as `head` has. */
function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT_FAILURE);
    throw error;
  });
}

async function opened<T>(path: string, use: (source: ByteSource) => Promise<T>): Promise<T> {
  const source = await openSource(path);
  try {
    return await use(source);
  } finally {
    await source.close();
  }
}

async function readMain(path: string, progress: InspectProgress) {
  return opened(path, (source) => readContext(source, () => progress.update(source.position, source.size)));
}

/** The inspection with no devices but those of `name`. Throws BAD_ARGUMENT where there are none. */
function onlyDevice(inspection: Inspection, name: string): Extract<Inspection, { content: 'stream' }> {
  const all = inspection.content === 'stream' ? inspection.devices : [];
  const devices = all.filter((device) => device.name === name);
  if (inspection.content !== 'stream' || devices.length === 0) {
    const known = [...new Set(all.map((device) => device.name))].join(', ');
    const hint = known === '' ? 'it has no device states at all' : `it has ${known}`;
    throw new MigrationError('BAD_ARGUMENT', `the stream has no state of a device "${name}"`, { hint });
  }
  return { ...inspection, devices };
}

async function runInspect(file: string, options: InspectCommandOptions): Promise<void> {
  endWithReader();
  const { json, records, device, main } = options;
  if (main === STDIN && file === STDIN) {
    throw new MigrationError('BAD_ARGUMENT', 'standard input can be only one of the two recordings');
  }
  const progress = await createInspectProgress();
  const output = new Output();
  let inspection: Inspection;
  try {
    const context = main === undefined ? undefined : await readMain(main, progress);
    inspection = await opened(file, (source) =>
      inspect(source, {
        ...(context === undefined ? {} : { context }),
        ...(records ? { onRecord: (line) => output.line(line) } : {}),
        onRead: () => {
          progress.update(source.position, source.size);
          return output.flush();
        },
      }),
    );
  } finally {
    progress.end();
  }
  if (inspection.end.verdict !== 'complete') process.exitCode = EXIT_FAILURE;
  const name = file === STDIN ? 'standard input' : file;
  if (json) output.line(JSON.stringify({ file: name, ...(device ? onlyDevice(inspection, device) : inspection) }));
  else if (device) for (const each of onlyDevice(inspection, device).devices) output.line(deviceText(each));
  else output.line(`${records ? '\n' : ''}${inspectTable(name, inspection)}`);
  await output.flush();
}

/** Gives the command its arguments and options, and what it does. */
export function define(command: Command): void {
  command
    .argument('<file>', 'the bytes of one connection, as they are or gzipped; - is standard input')
    .option('--json', 'print one JSON object as the last line')
    .option('--records', 'print a line for each record, with its offset')
    .option('--device <name>', "print one device's fields, named by the VM description")
    .option('--main <file>', 'the recorded main connection of the same migration, for its other connections')
    .action(runInspect);
  addHelp(command, {
    about: 'Reads what "postcopy relay --record" kept, or a migration of QEMU into a file (docs/inspect.md).',
    examples: [
      { line: 'postcopy inspect run1/conn0.s2d.bin', does: 'What is in a recording:' },
      { line: 'zstdcat vm.zst | postcopy inspect -', does: 'The same of what comes from a pipe:' },
      { line: 'postcopy inspect --records run1/conn0.s2d.bin | less', does: 'Record by record:' },
      { line: 'postcopy inspect --device timer run1/conn0.s2d.bin', does: 'The fields of one device:' },
      {
        line: 'postcopy inspect --main run1/conn0.s2d.bin run1/conn1.s2d.bin',
        does: 'The preempt channel of the same migration:',
      },
    ],
    succeeds: 'the recording is complete',
    fails: 'it is cut off, corrupt, of another version, or cannot be read',
  });
}
