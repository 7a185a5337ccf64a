/** A log as the rest of this package writes one: levels, and what a record is. Pure. */

/** From the gravest down, under the names that loggers of Node have for them. */
export const logLevels = ['error', 'warn', 'info', 'debug', 'trace'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Whatever JSON can hold. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes one record. */
export type Log = (level: LogLevel, message: string, fields?: LogFields) => void;

/** Whether a log that is to tell of `threshold` and what is graver has something of `level`. */
export function isLogged(level: LogLevel, threshold: LogLevel): boolean {
  return logLevels.indexOf(level) <= logLevels.indexOf(threshold);
}
