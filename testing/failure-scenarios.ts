/**
 * Whole migrations of a tiny guest with real faults, in this process, which a test makes fail at a point: over a
 * relay that cuts, with breakpoints set, with guests that refuse.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bind, connect } from '#lib/channel/connect.js';
import { IncomingMigration } from '#lib/destination/incoming.js';
import { StressGuest, type StressGuestSettings } from '#lib/index.js';
import { type Capabilities, type Parameters, resolveCapabilities, resolveParameters } from '#lib/options.js';
import { OutgoingMigration } from '#lib/source/outgoing.js';
import type { Breakpoint } from './breakpoint.ts';
import { type Cut, CuttingRelay } from './cutting-relay.ts';
import { type GuestFault, ObservedGuest, Whereabouts } from './observed-guest.ts';

export interface Scenario extends Share {
  readonly name: string;
  readonly transport: 'unix' | 'tcp';
  readonly guest: StressGuestSettings;
  readonly capabilities: Partial<Capabilities>;
  readonly parameters: Partial<Parameters>;
  readonly postcopyAfterPasses: number | undefined;
  /** How often a message of one kind surely comes, where it is one that comes again and again. */
  readonly repetitions: number;
}

/** What of a scenario is made to fail: together they fail at each point and message where that says most. */
interface Share {
  /** Whether every kind of failure is tried; else one at each, as another scenario has the rest. */
  readonly thorough: boolean;
  /** The steps (docs/architecture.md) and the messages that another scenario does not go through in the same way. */
  readonly ownSteps: RegExp;
  readonly ownMessages: RegExp;
}

const PAGE = 4096;
/** How much of the time vCPUs are held back, until there is something to see and then. */
const IDLE_PERCENT = 95;
const BUSY_PERCENT = 67;

/** Small enough to be over in a moment, and writes all over its memory, so that it comes to missing pages. */
const guest: StressGuestSettings = { memory: 72 * PAGE, workingSetShare: 7 / 8, writesPerSecond: 20_000 };
/**
 * Bytes a second of which the guest's pages take more than two steps of the rate limit: in precopy there is a whole
 * step of rest in which it writes, and in postcopy time for it to come to pages that are still missing.
 */
const SLOW = 2 ** 20;
const returnPath = { postcopyRam: true };
const ALL: Share = { thorough: true, ownSteps: /^/, ownMessages: /^/ };
/** POSTCOPY_EVERY_FAILURE=1 (CONTRIBUTING.md) has all of them made to fail everywhere, in every way. */
const share = (part: Share): Share => (process.env.POSTCOPY_EVERY_FAILURE === '1' ? ALL : part);

/**
 * Until its end a precopy is what a postcopy is before the switch; then it stops, hands over and ends otherwise. With
 * no return path the source finds a broken connection otherwise in the middle, too.
 */
const endOfPrecopy = share({
  thorough: false,
  ownSteps: /^(S9|S1[0-2]|D8|D10)/,
  ownMessages: /^(PART|END|FULL|body|footer (guest|global)|eof|vmdescription|SHUT)/,
});
/** The whole of a migration, step by step. */
const everywhere = share({ ...ALL, thorough: false });
/** Nothing was sent before it: all of the memory is discarded, comes behind the switch, and guests ask for it. */
const switchAtOnce = share({
  thorough: false,
  ownSteps: /^(S8|S9\.[14]|D6|D9)/,
  ownMessages: /^(PING of discards|POSTCOPY_RAM_DISCARD|PART|page)/,
});

export const scenarios = {
  precopy: {
    name: 'precopy',
    transport: 'unix',
    guest,
    capabilities: {},
    parameters: { maxBandwidth: 0 },
    postcopyAfterPasses: undefined,
    repetitions: 2,
    ...endOfPrecopy,
  },
  'precopy with return path': {
    name: 'precopy with return path',
    transport: 'unix',
    guest: { ...guest, kind: 'memfd' },
    capabilities: returnPath,
    parameters: { maxBandwidth: 0 },
    postcopyAfterPasses: undefined,
    repetitions: 2,
    ...endOfPrecopy,
  },
  'postcopy after a pass': {
    name: 'postcopy after a pass',
    transport: 'tcp',
    guest: { ...guest, kind: 'memfd' },
    capabilities: returnPath,
    parameters: { maxBandwidth: SLOW, maxPostcopyBandwidth: SLOW },
    postcopyAfterPasses: 1,
    repetitions: 2,
    ...everywhere,
  },
  'postcopy at once': {
    name: 'postcopy at once',
    transport: 'unix',
    guest: { ...guest, vcpus: 2 },
    capabilities: returnPath,
    parameters: { maxBandwidth: 0, maxPostcopyBandwidth: SLOW },
    postcopyAfterPasses: 0,
    repetitions: 2,
    ...switchAtOnce,
  },
} as const satisfies Record<string, Scenario>;

export type ScenarioName = keyof typeof scenarios;

/** What goes wrong in a run; nothing, where all is absent. */
export interface Faults {
  readonly cut?: Cut;
  /** Set already. */
  readonly atSource?: Breakpoint;
  readonly atDestination?: Breakpoint;
  readonly guestAtSource?: readonly GuestFault[];
  readonly guestAtDestination?: readonly GuestFault[];
  /** Of both sides, and where the destination has another; no limit when absent. */
  readonly guestTimeoutMs?: number;
  readonly guestTimeoutAtDestinationMs?: number;
}

/** A migration under way, and what a test needs to judge it. */
export interface Run {
  readonly scenario: Scenario;
  readonly source: ObservedGuest;
  readonly target: ObservedGuest;
  readonly whereabouts: Whereabouts;
  readonly relay: CuttingRelay;
  readonly outgoing: OutgoingMigration;
  readonly incoming: IncomingMigration;
  /** What both sides have warned of so far. */
  readonly warnings: readonly Error[];
  /** Lets go of all that a test of this run holds; both sides have ended. */
  close(): Promise<void>;
}

/** Begins a migration; both sides' threads run when it is there. */
export async function startRun(scenario: Scenario, faults: Faults = {}): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-failure-'));
  const whereabouts = new Whereabouts();
  const source = new ObservedGuest(
    await StressGuest.create(scenario.guest),
    'source',
    whereabouts,
    faults.guestAtSource ?? [],
  );
  const target = new ObservedGuest(
    StressGuest.empty(scenario.guest),
    'destination',
    whereabouts,
    faults.guestAtDestination ?? [],
  );
  // A vCPU spins; until there is something to see, that would only be taken from the threads that are to start.
  source.stress.throttle(IDLE_PERCENT);
  target.stress.throttle(BUSY_PERCENT);
  await source.stress.start();
  whereabouts.set('source', true);
  const capabilities = resolveCapabilities(scenario.capabilities);
  const listener = await bind(scenario.transport === 'unix' ? `unix:${join(folder, 'm.sock')}` : 'tcp:127.0.0.1:0');
  const { guestTimeoutMs = 0, guestTimeoutAtDestinationMs = guestTimeoutMs } = faults;
  const incoming = new IncomingMigration(
    listener,
    target,
    { capabilities, guestTimeoutMs: guestTimeoutAtDestinationMs, peerTimeoutMs: 0, prefetch: 'none', lanes: 0 },
    faults.atDestination?.words,
  );
  const relay = await CuttingRelay.start(incoming.uri, faults.cut);
  const outgoing = new OutgoingMigration(
    source,
    await connect(relay.uri),
    relay.uri,
    {
      capabilities,
      parameters: resolveParameters(scenario.parameters),
      postcopyAfterPasses: scenario.postcopyAfterPasses,
      guestTimeoutMs,
      peerTimeoutMs: 0,
      lanes: 0,
    },
    connect,
    faults.atSource?.words,
  );
  outgoing.on('status', (status) => {
    if (status === 'active') source.stress.throttle(BUSY_PERCENT);
  });
  const warnings: Error[] = [];
  outgoing.on('warning', (warning) => warnings.push(warning));
  const close = async (): Promise<void> => {
    await relay.close();
    for (const { stress } of [source, target]) {
      if (stress.running) await stress.stop();
      stress.close();
    }
    rmSync(folder, { recursive: true });
  };
  return { scenario, source, target, whereabouts, relay, outgoing, incoming, warnings, close };
}
