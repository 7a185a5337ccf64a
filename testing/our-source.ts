/** Our own source with the captured machine, which migrates to a destination that is played to it. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Capabilities, OutgoingMigration } from '#lib/index.js';
import { migrate } from '#lib/migration/migrate.js';
import { KeptMachine } from './machine-keeper.ts';
import type { CapturedMachine } from './qemu/captured-machine.ts';
import type { SourceOutcome } from './qemu/captured-source.ts';
import { ScriptedDestination } from './qemu/scripted-destination.ts';
import type { Noticed, PlayedSource, SourceCase } from './qemu/source-cases.ts';

/** Slow enough that nothing ends before the script says so. */
const SLOW_BYTES_PER_SECOND = 2 ** 20;

const capabilityNames: Readonly<Record<string, keyof Capabilities>> = {
  'postcopy-ram': 'postcopyRam',
  'return-path': 'returnPath',
};

/** The captured machine as a guest that runs, and tells when it is stopped and started. */
class RunningMachine extends KeptMachine {
  readonly #events: string[];

  constructor(machine: CapturedMachine, events: string[]) {
    const blocks = machine.blocks.map((block, index) => ({ index, ...block }));
    super({ configuration: { machine: machine.machine }, ramSection: machine.ramSection }, blocks);
    for (const [idstr, content] of machine.memory) this.bytesOf(idstr).set(content);
    this.deviceState = machine.allDevices();
    this.running = true;
    this.#events = events;
  }

  override async start(): Promise<void> {
    this.#events.push('RESUME');
    await super.start();
  }

  override async stop(): Promise<void> {
    this.#events.push('STOP');
    await super.stop();
  }
}

/** Lets a source of ours migrate to the case: what came of it, and what the script noticed. */
export async function playToOurSource(machine: CapturedMachine, played: SourceCase): Promise<SourceOutcome & Noticed> {
  const folder = await mkdtemp(join(tmpdir(), 'postcopy-odd-'));
  const events = ['MIGRATION=setup'];
  using guest = new RunningMachine(machine, events);
  using destination = await ScriptedDestination.listen(`unix:${join(folder, 's')}`);
  const outgoing = await migrate(guest, destination.uri, {
    capabilities: Object.fromEntries(played.capabilities.map((name) => [capabilityNames[name], true])),
    parameters: { maxBandwidth: SLOW_BYTES_PER_SECOND, maxPostcopyBandwidth: SLOW_BYTES_PER_SECOND },
  });
  outgoing.on('status', (status) => events.push(`MIGRATION=${status}`));
  try {
    const noticed = await played.play(destination, playedSource(outgoing));
    await settled(outgoing);
    const { postcopyRequests } = outgoing.info().ram;
    return {
      ...noticed,
      source_status: outgoing.status,
      source_runstate: outgoing.runState,
      // As in QEMU, of a migration that has failed nothing is told.
      postcopy_requests: outgoing.status === 'completed' ? postcopyRequests : null,
      events: [...events],
    };
  } finally {
    destination[Symbol.dispose]();
    if (outgoing.status !== 'postcopy-paused') await settled(outgoing);
    outgoing.giveUp();
    await outgoing.finished.catch(() => {});
    await rm(folder, { recursive: true });
  }
}

/** It has ended, or has come to a pause. */
function settled(outgoing: OutgoingMigration): Promise<unknown> {
  return Promise.race([outgoing.finished.catch(() => {}), reached(outgoing, 'postcopy-paused')]);
}

async function reached(outgoing: OutgoingMigration, status: string): Promise<void> {
  while (outgoing.status !== status) await once(outgoing, 'status');
}

function playedSource(outgoing: OutgoingMigration): PlayedSource {
  return {
    startPostcopy: async () => void outgoing.startPostcopy().catch(() => {}),
    cancel: async () => {
      if (!outgoing.cancel()) throw new Error('it is too late to cancel');
    },
    resume: async (uri) => void outgoing.recover(uri).catch(() => {}),
    status: async () => outgoing.status,
    reach: (status) =>
      new Promise((resolve, reject) => {
        const look = () => outgoing.status === status && resolve();
        outgoing.on('status', look);
        look();
        const never = () => reject(new Error(`it is ${outgoing.status}, and never comes to ${status}`));
        outgoing.finished.then(never, never);
      }),
    hurry: async () => outgoing.setParameters({ maxBandwidth: 0, maxPostcopyBandwidth: 0 }),
  };
}
