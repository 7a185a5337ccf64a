/** Options of the commands that migrate that say what is told on stderr while they run, and how. */
import { type Command, Option } from 'commander';
import { type LogLevel, logLevels } from '../logs/log.js';

export const logFormats = ['text', 'json'] as const;
export type LogFormat = (typeof logFormats)[number];

export interface LogOptions {
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

/** As a command without these options has it. */
export const defaultLogOptions: LogOptions = { logLevel: 'info', logFormat: 'text' };

export function addLogOptions(command: Command): Command {
  const { logLevel, logFormat } = defaultLogOptions;
  return command
    .addOption(
      new Option('--log-level <level>', 'how much is told on stderr; below info also progress is not')
        .choices(logLevels)
        .default(logLevel),
    )
    .addOption(
      new Option('--log-format <format>', 'how: for people, or a JSON object a line')
        .choices(logFormats)
        .default(logFormat),
    );
}
