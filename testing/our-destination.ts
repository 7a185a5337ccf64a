/** Our own destination, waiting for the captured machine, and what became of a source that was played to it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ErrorCode, IncomingMigration } from '#lib/index.js';
import { listen } from '#lib/migration/listen.js';
import { MachineKeeper } from './machine-keeper.ts';
import { answersOf, comparedWithSent, type DestinationOutcome } from './qemu/captured-destination.ts';
import type { CapturedMachine } from './qemu/captured-machine.ts';
import { CAPTURED_RAM } from './qemu/captured-qemu.ts';
import type { DestinationCase } from './qemu/destination-cases.ts';
import { ScriptedSource } from './qemu/scripted-source.ts';
import { type Stop, stops } from './stops.ts';

export interface OurOutcome {
  readonly status: Stop['status'];
  /** Of one that failed or paused. */
  readonly code?: ErrorCode;
  readonly message?: string;
  /** Whether the source had handed the guest over by then. */
  readonly isLost: boolean;
  readonly answers: DestinationOutcome['return_path'];
  /** Of one that completed: as {@link DestinationOutcome} tells it. */
  readonly memory?: ReturnType<typeof comparedWithSent>;
}

/**
 * Plays the case to a destination of ours that expects the captured machine, and tells what came of it. `thenEnds`:
 * it would wait for ever for a source that leaves the connection open.
 */
export async function playToOurs(
  machine: CapturedMachine,
  { postcopyRam = false, play }: DestinationCase,
  thenEnds = false,
): Promise<OurOutcome> {
  const folder = await mkdtemp(join(tmpdir(), 'postcopy-odd-'));
  using keeper = new MachineKeeper({ machine: machine.machine, blocks: machine.blocks, devices: machine.devices });
  try {
    const incoming = await listen(`unix:${join(folder, 's')}`, { guest: keeper, capabilities: { postcopyRam } });
    using source = await ScriptedSource.connect(incoming.uri);
    await play(source, machine, () => carriedOut(incoming));
    if (thenEnds) source.end();
    return await outcomeOf(incoming, source, machine, keeper);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Resolves when RUN has been carried out, or never will be. */
async function carriedOut(incoming: IncomingMigration): Promise<void> {
  const running = new Promise<void>((resolve) => {
    const look = () => incoming.status === 'postcopy-active' && resolve();
    incoming.on('status', look);
    look();
  });
  await Promise.race([running, incoming.finished.catch(() => {})]);
}

async function outcomeOf(
  incoming: IncomingMigration,
  source: ScriptedSource,
  machine: CapturedMachine,
  keeper: MachineKeeper,
): Promise<OurOutcome> {
  // A source that is told how it ended closes, as does one that has nothing more to say.
  void source.answers
    .first('SHUT', ({ type }) => type === 'SHUT')
    .catch(() => {})
    .then(() => source.end());
  const { status, error } = await stops(incoming);
  if (error !== undefined) {
    if (status === 'postcopy-paused') incoming.giveUp('freeze');
    await incoming.finished.catch(() => {});
    const isLost = incoming.info().lost !== undefined;
    incoming.abandon();
    return { status, code: error.code, message: error.message, isLost, answers: answersOf(source) };
  }
  await source.answers.silence();
  const memory = comparedWithSent(Buffer.from(keeper.kept.bytesOf(CAPTURED_RAM)), machine);
  return { status, isLost: false, answers: answersOf(source), memory };
}
