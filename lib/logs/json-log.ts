/**
 * A log of JSON lines, by pino. Written at once by the thread that has something to say: what a process says last
 * before it ends is there, and no other thread takes part.
 */
import type { DestinationStream } from 'pino';
import type { Log, LogLevel } from './log.js';

/** To stderr, unless there is another place for it. What writes it is loaded here. */
export async function createJsonLog(threshold: LogLevel, to?: DestinationStream): Promise<Log> {
  const { destination, pino, stdTimeFunctions } = await import('pino');
  const logger = pino(
    {
      level: threshold,
      base: { pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
    },
    to ?? destination({ dest: 2, sync: true }),
  );
  return (level, message, fields = {}) => logger[level](fields, message);
}
