/**
 * One step of a script: a tool run with its output held back, told in one line on stderr.
 *
 * Runs in the main thread of any script here. The line starts before the tool does; a tool that takes
 * longer than PROGRESS_MS adds its elapsed seconds to it, so that no wait is silent. The tool's output
 * is shown only when it fails.
 */
import { spawn } from 'node:child_process';
import { basename } from 'node:path';
import { performance } from 'node:perf_hooks';

const PROGRESS_MS = 10_000;

/** Thrown for whatever stops a script; its message is all that the user needs. */
export class StepError extends Error {}

/** What a tool printed and how it ended. `status` is its exit status, or null where a signal ended it. */
function runTool(command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    const chunks = [];
    child.stdout.on('data', (chunk) => chunks.push(chunk));
    child.stderr.on('data', (chunk) => chunks.push(chunk));
    child.once('error', reject);
    child.once('close', (status, signal) => resolve({ status, signal, output: Buffer.concat(chunks).toString() }));
  });
}

/** `seconds(1234)` is `1.2 s`. */
function seconds(milliseconds) {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/**
 * Does `work` under one progress line on stderr: `<name> … 9.1 s`, or `<name> … failed after 9.1 s`.
 * Whatever `work` throws goes on to the caller.
 */
export async function withProgressLine(name, work) {
  const start = performance.now();
  process.stderr.write(`${name} …`);
  const progress = setInterval(() => {
    process.stderr.write(` ${Math.round((performance.now() - start) / 1000)} s …`);
  }, PROGRESS_MS);
  try {
    const result = await work();
    process.stderr.write(` ${seconds(performance.now() - start)}\n`);
    return result;
  } catch (error) {
    process.stderr.write(` failed after ${seconds(performance.now() - start)}\n`);
    throw error;
  } finally {
    clearInterval(progress);
  }
}

/**
 * Runs one tool; returns what it printed. Throws a {@link StepError} with the tool's output where it can't
 * be started or ends with anything but 0.
 */
export async function run(name, command, args, options = {}) {
  const ended = await runTool(command, args, options).catch((cause) => {
    throw new StepError(`${name}: ${command} did not start: ${cause.message}`, { cause });
  });
  if (ended.status !== 0) {
    const how = ended.signal === null ? `exited with status ${ended.status}` : `was ended by ${ended.signal}`;
    throw new StepError(`${ended.output.trimEnd()}\n${name}: ${basename(command)} ${how}`.trimStart());
  }
  return ended.output;
}

/** The same under a progress line. */
export function step(name, command, args, options = {}) {
  return withProgressLine(name, () => run(name, command, args, options));
}

/** Runs a script's main function: a {@link StepError} is printed as its message and makes the exit status 1. */
export async function runScript(main) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
