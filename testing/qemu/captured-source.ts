/** A real QEMU that runs the captured machine's firmware and migrates it to a destination that is played to it. */
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type CapturedMachine, PAGE_BYTES } from './captured-machine.ts';
import { CAPTURED_RAM, startCapturedMachine } from './captured-qemu.ts';
import { migrationInfo, migrationStatus, setUp } from './migrate.ts';
import type { QemuProcess } from './qemu-process.ts';
import { memfdContent } from './ram.ts';
import { ScriptedDestination } from './scripted-destination.ts';
import type { Noticed, PlayedSource, SourceCase } from './source-cases.ts';

/** As test/fixtures/observed-source.json tells it. */
export interface SourceOutcome {
  readonly source_status: string;
  readonly source_runstate: string;
  /** null where QEMU tells nothing about RAM. */
  readonly postcopy_requests: number | null;
  readonly events: readonly string[];
}

/** Slow enough that nothing ends before the script says so. */
const SLOW_BYTES_PER_SECOND = 2 ** 20;
const NO_LIMIT = 0;

/**
 * Lets a QEMU of its own migrate to the case. What came of it once it has had the last of `events`, and a moment for
 * `runState`, and what the script noticed.
 */
export async function playToQemuSource(
  machine: CapturedMachine,
  played: SourceCase,
  events: readonly string[],
  runState: string,
): Promise<SourceOutcome & Noticed> {
  await using qemu = await startCapturedMachine('source', machine, []);
  await firmwareDone(qemu, machine);
  using destination = await ScriptedDestination.listen(`unix:${join(qemu.folder, 'played.socket')}`);
  await setUp(qemu, played.capabilities, {
    'max-bandwidth': SLOW_BYTES_PER_SECOND,
    'max-postcopy-bandwidth': SLOW_BYTES_PER_SECOND,
  });
  await qemu.qmp.execute('migrate', { uri: destination.uri });
  const noticed = await played.play(destination, playedSource(qemu));
  await heardLast(qemu, events);
  const { status = 'none', ram } = await migrationInfo(qemu);
  const runstate = await settledRunState(qemu, runState);
  return {
    ...noticed,
    source_status: status,
    source_runstate: runstate,
    postcopy_requests: ram?.['postcopy-requests'] ?? null,
    events: qemu.qmp.events.flatMap(({ event, data }) => {
      if (event === 'MIGRATION') return [`MIGRATION=${data.status}`];
      return event === 'STOP' || event === 'RESUME' ? [event] : [];
    }),
  };
}

const LOOK_EVERY_MS = 10;
const FIRMWARE_PATIENCE_MS = 20_000;
const RUN_STATE_PATIENCE_MS = 5000;

/** Waits until the firmware has filled memory, whose last page in use is then what the capture has: not zero. */
async function firmwareDone(qemu: QemuProcess, machine: CapturedMachine): Promise<void> {
  const captured = machine.memory.get(CAPTURED_RAM) ?? new Uint8Array();
  let last = captured.length - 1;
  while (last > 0 && captured[last] === 0) last -= 1;
  const firstOfPage = last - (last % PAGE_BYTES);
  const endMs = performance.now() + FIRMWARE_PATIENCE_MS;
  while ((await memfdContent(qemu)).subarray(firstOfPage, last + 1).every((byte) => byte === 0)) {
    if (performance.now() > endMs) throw new Error(`the firmware of ${qemu.name} has not filled its memory`);
    await wait(LOOK_EVERY_MS);
  }
}

/** Waits for the last of these events, by the names that the outcome has for them. */
async function heardLast(qemu: QemuProcess, events: readonly string[]): Promise<void> {
  const [name, status] = (events.at(-1) ?? '').split('=');
  await (status === undefined ? qemu.qmp.event(name) : migrationStatus(qemu, status));
}

/** The run state, which follows the last event a little later: asked for until it is the one that is expected. */
async function settledRunState(qemu: QemuProcess, expected: string): Promise<string> {
  const endMs = performance.now() + RUN_STATE_PATIENCE_MS;
  for (;;) {
    const { status } = await qemu.qmp.execute<{ status: string }>('query-status');
    if (status === expected || performance.now() > endMs) return status;
    await wait(LOOK_EVERY_MS);
  }
}

function playedSource(qemu: QemuProcess): PlayedSource {
  const execute = async (command: string, args?: Record<string, unknown>): Promise<void> => {
    await qemu.qmp.execute(command, args);
  };
  return {
    startPostcopy: () => execute('migrate-start-postcopy'),
    cancel: () => execute('migrate_cancel'),
    resume: (uri) => execute('migrate', { uri, resume: true }),
    status: async () => (await migrationInfo(qemu)).status ?? 'none',
    reach: (status) => migrationStatus(qemu, status),
    hurry: () => execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 40, 'max-postcopy-bandwidth': NO_LIMIT }),
  };
}
