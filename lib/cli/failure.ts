/**
 * How a command that failed says so: on stderr a line, or with --log-format json a record; on stdout, with --json and
 * where no result has been printed, an object `{status, error: {code, message, hint}}`.
 */
import { CommanderError } from 'commander';
import { describeError, MigrationError } from '../errors.js';
import { createJsonLog } from '../logs/json-log.js';
import { errorFields } from '../logs/migration-fields.js';
import { stderrColours } from './colours.js';
import { EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USAGE, hasPrintedJson, printJson } from './command-line.js';

/** What of the command line says how a failure is told; it may be the command line itself that can't be understood. */
export interface FailureWish {
  readonly json: boolean;
  readonly logsJson: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** What `args` and the environment ask for. */
export function failureWish(args: readonly string[], environment: Environment = process.env): FailureWish {
  const { POSTCOPY_JSON = '', POSTCOPY_LOG_FORMAT } = environment;
  const formats = args.flatMap((arg, index) => {
    if (arg === '--log-format') return args.slice(index + 1, index + 2);
    return arg.startsWith('--log-format=') ? [arg.slice('--log-format='.length)] : [];
  });
  return {
    json: args.includes('--json') || /^(1|true|yes|on)$/i.test(POSTCOPY_JSON),
    logsJson: (formats.at(-1) ?? POSTCOPY_LOG_FORMAT) === 'json',
  };
}

/** As a script reads it. */
export function failureReport(error: unknown) {
  const isCancelled = error instanceof MigrationError && error.code === 'CANCELLED';
  return { status: isCancelled ? 'cancelled' : 'failed', ...errorFields(error) };
}

/** The same of a command line that can't be understood, which commander has told of. */
function asUsageError({ code, message }: CommanderError): MigrationError {
  const what = code === 'commander.help' ? 'no command is given' : message.replace(/^error: /, '');
  return new MigrationError('BAD_ARGUMENT', what, { hint: 'see --help' });
}

/** Tells of it; the exit code it should lead to. */
export async function reportFailure(thrown: unknown, { json, logsJson }: FailureWish): Promise<number> {
  const isUsage = thrown instanceof CommanderError;
  if (isUsage && thrown.exitCode === 0) return 0;
  const error = isUsage ? asUsageError(thrown) : thrown;
  if (logsJson) (await createJsonLog('error'))('error', (error as Error).message, errorFields(error));
  else if (!isUsage) writeFailure(error);
  if (json && !hasPrintedJson()) printJson(failureReport(error));
  if (isUsage) return EXIT_USAGE;
  return error instanceof MigrationError && error.code === 'CANCELLED' ? EXIT_INTERRUPTED : EXIT_FAILURE;
}

function writeFailure(error: unknown): void {
  process.stderr.write(`${stderrColours.red('postcopy:')} ${describeError(error)}\n`);
  if (process.env.POSTCOPY_DEBUG) process.stderr.write(`${(error as Error).stack}\n`);
}
