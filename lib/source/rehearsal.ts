/**
 * A whole postcopy, gone through by the migration thread while it is parked: what runs for the first time V8 compiles
 * first, and the guest would stand still meanwhile. The guest and the destination are made up, and what is sent nobody
 * gets; the calls to the owner are real ones, as that side is compiled too. Migration thread only.
 */
import type { Guest } from '../memory/guest.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { RAMBlock } from '../memory/ram-block.js';
import type { EventfdHandle, SocketHandle } from '../native.js';
import { defaultParameters, resolveCapabilities } from '../options.js';
import { FairLock } from '../threads/fair-lock.js';
import { inRounds, rehearsedContext } from '../threads/rehearsal.js';
import type { Owner, ThreadContext } from '../threads/thread.js';
import { Ping } from '../wire/protocol.js';
import { GuestCalls } from './guest-calls.js';
import { LiveParameters } from './live-parameters.js';
import { MigrationStateCell } from './migration-state.js';
import { PageRequestQueue } from './page-request-queue.js';
import { SourceBitmaps } from './source-bitmaps.js';
import type { MigrationThreadData, SourceEvent, SourceOwnerCalls } from './source-context.js';
import { createSourceCounters } from './source-counters.js';
import { createSourceSignals, type SourceSignals } from './source-signals.js';

/** Few enough that all that is sent fits into a socket. */
const PAGES = 8;
/** Each takes some milliseconds. */
const ROUNDS = 3;
/** Of the device state; a guest's has some kilobytes. */
const STATE_BYTES = 1024;

type Context = ThreadContext<SourceEvent, SourceOwnerCalls>;

/** The owner's part: what it answers while the thread is parked. */
export function rehearsedCalls(): Pick<SourceOwnerCalls, 'stopGuest' | 'saveGuest'> {
  const guest: Guest = {
    ramBlocks: [],
    running: false,
    start: async () => {},
    stop: async () => {},
    saveDeviceState: async () => new Uint8Array(STATE_BYTES),
    loadDeviceState: async () => {},
  };
  const calls = new GuestCalls(guest, { limitMs: 1000, onDeath: () => {}, onLateFailure: () => {} });
  return { stopGuest: () => calls.stop(), saveGuest: () => calls.save() };
}

/** `run` does what the thread does with its work. Throws where it can't be gone through to the end. */
export function rehearse(
  owner: Owner<SourceOwnerCalls>,
  hasWork: () => boolean,
  run: (data: MigrationThreadData, thread: Context) => unknown,
): void {
  using block = RAMBlock.create({ idstr: 'rehearsal', size: PAGES * TARGET_PAGE_SIZE });
  inRounds(ROUNDS, hasWork, ([socket], kick) => goThrough(socket, block, kick, owner, run));
}

function goThrough(
  socket: SocketHandle,
  block: RAMBlock,
  kick: EventfdHandle,
  owner: Owner<SourceOwnerCalls>,
  run: (data: MigrationThreadData, thread: Context) => unknown,
): void {
  const state = new MigrationStateCell();
  state.move('none', 'setup');
  const signals = createSourceSignals();
  signals.set('START_POSTCOPY', 1);
  signals.set('PONG', Ping.DISCARDED + 1); // to the first round of discards
  const parameters = new LiveParameters();
  parameters.set({ ...defaultParameters, maxBandwidth: 0 });
  run(
    {
      channel: { socket, peer: 'nobody' },
      blocks: [block.descriptor],
      machine: undefined,
      writeLog: undefined,
      status: state.buffer,
      signals: signals.buffer,
      counters: createSourceCounters().buffer,
      queue: new PageRequestQueue().buffer,
      bitmaps: new SourceBitmaps([block.size]).descriptor,
      urgentLock: new FairLock().buffer,
      capabilities: resolveCapabilities({ postcopyRam: true }),
      parameters: parameters.buffer,
      postcopyAfterPasses: undefined,
      peerTimeoutMs: 0,
      preemptChannel: 'setup',
      lanes: [],
      guestRuns: true,
    },
    { ...rehearsedContext(kick, owner), emit: (event) => answer(signals, event) },
  );
  if (state.status !== 'completed') throw new Error(`the rehearsal ended in status ${state.status}`);
}

/** What a destination would have the return path thread set at that event, or what spares the next answer. */
function answer(signals: SourceSignals, event: SourceEvent): void {
  if (event.kind === 'status' && event.status === 'postcopy-device') {
    signals.set('LOADED', 1);
    signals.set('PONG', Ping.SWITCHOVER);
  }
  if (event.kind === 'switched') signals.set('PONG', 0);
}
