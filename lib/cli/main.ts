#!/usr/bin/env node
/**
 * The command `postcopy`. Results go to stdout (with --json one object as its last line), all else to
 * stderr. Exit code 0 only on success, 1 on failure, 2 for a command line that can't be understood,
 * 130 when interrupted.
 */
import { failureWish, reportFailure } from './failure.js';
import { createProgram, requireKnownHelp } from './program.js';

const args = process.argv.slice(2);
const wish = failureWish(args);
try {
  const postcopy = await createProgram(args, { tellsErrors: !wish.logsJson });
  requireKnownHelp(postcopy, args);
  await postcopy.parseAsync();
} catch (error) {
  process.exitCode = await reportFailure(error, wish);
}
