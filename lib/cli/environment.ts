/**
 * Options from the environment: each `--max-bandwidth` of each command is POSTCOPY_MAX_BANDWIDTH too. What stands on
 * the command line goes before it. A value is read as on the command line; of an option that takes none, it is 1 or 0.
 */
import { Command, type Option } from 'commander';
import { EXIT_USAGE } from './command-line.js';

const yes = /^(1|true|yes|on)$/i;
const no = /^(0|false|no|off|)$/i;

/** POSTCOPY_MAX_BANDWIDTH of `--max-bandwidth`. */
export function variableOf(option: Option): string {
  return `POSTCOPY_${option.name().replaceAll('-', '_').toUpperCase()}`;
}

/** A command whose options are taken from the environment where they are not given. */
export class EnvironmentCommand extends Command {
  override addOption(option: Option): this {
    const variable = variableOf(option);
    const value = process.env[variable];
    const takesValue = option.required || option.optional;
    // Commander takes a variable that is there for yes, whatever it says.
    if (value !== undefined && (takesValue ? value !== '' : yes.test(value))) option.env(variable);
    else if (value !== undefined && !no.test(value)) this.#refuse(option, variable, value);
    return super.addOption(option);
  }

  /** Once it comes to the command, so that its help can still be had. */
  #refuse(option: Option, variable: string, value: string): void {
    this.hook('preAction', () =>
      this.error(`error: option '${option.flags}' value '${value}' from env '${variable}' is invalid. Give 1 or 0.`, {
        exitCode: EXIT_USAGE,
        code: 'commander.invalidArgument',
      }),
    );
  }
}
