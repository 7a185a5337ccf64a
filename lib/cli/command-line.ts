/** What the commands have in common: exit codes, options that are parsed, JSON output, Ctrl-C. */
import { InvalidArgumentError, Option } from 'commander';
import { describeError } from '../errors.js';

export const EXIT_FAILURE = 1;
export const EXIT_USAGE = 2;
export const EXIT_INTERRUPTED = 130;

/** A commander option parser from one that throws BAD_ARGUMENT. */
export function argument<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError(describeError(error));
    }
  };
}

/** The same for an option that may be given more than once: all its values. */
export function eachArgument<T>(parse: (text: string) => T): (text: string, before?: readonly T[]) => readonly T[] {
  return (text, before = []) => [...before, argument(parse)(text)];
}

/** A number from `min` to `max`. */
export function number(min: number, max: number, whole = true): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
      throw new InvalidArgumentError(`Give a ${whole ? 'whole ' : ''}number from ${min} to ${max}.`);
    }
    return value;
  };
}

/** An option whose default is shown, and read, as people write it. */
export function sized(flags: string, description: string, parse: (text: string) => number, preset: string): Option {
  return new Option(flags, description).argParser(argument(parse)).default(parse(preset), preset);
}

let jsonIsPrinted = false;

/** Prints the result; once in a process. */
export function printJson(value: unknown): void {
  jsonIsPrinted = true;
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Whether a result has been printed. */
export function hasPrintedJson(): boolean {
  return jsonIsPrinted;
}

/** Aborted by the first Ctrl-C or SIGTERM; the second ends this process at once, and its children see that. */
export function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  const interrupt = () => (controller.signal.aborted ? process.exit(EXIT_INTERRUPTED) : controller.abort());
  // Not once(): a library that finds itself the last listener of a signal ends the process.
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  return controller.signal;
}
