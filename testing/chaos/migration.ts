/**
 * One migration of the chaos: the real engine with a guest that writes all the while, over a network that breaks, both
 * sides in this process and recovering by themselves. Whatever breaks, the guest must end up at one side, whole.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoRecovery, type Recoveries } from '#lib/cli/auto-recovery.js';
import type { IncomingMigration, OutgoingMigration } from '#lib/index.js';
import { listen, migrate, StressGuest } from '#lib/index.js';
import { BadNetwork, type Break } from '../bad-network.ts';
import { until } from '../native-thread.ts';
import { type ChaosPlan, planText } from './plan.ts';

export interface ChaosOutcome {
  /** `source`: a connection broke before the hand-over, and the guest has stayed. */
  readonly where: 'source' | 'destination';
  readonly breaks: readonly Break[];
  readonly recoveries: Recoveries;
  /** What happened, a line each. */
  readonly history: string;
}

/** Milliseconds of silence that make a peer a lost one. */
const PEER_TIMEOUT_MS = 2500;
/** Milliseconds that a pause may last, and all of a migration. */
const RECOVER_FOR_MS = 60_000;
const MIGRATION_MS_MAX = 180_000;
/** How much of the time vCPUs, which spin, are held back until there is something to see, and then. */
const IDLE_PERCENT = 95;
const BUSY_PERCENT = 50;

class Migration {
  readonly #plan: ChaosPlan;
  readonly #recoverForMs: number;
  readonly #folder = mkdtempSync(join(tmpdir(), 'postcopy-chaos-'));
  readonly #source: StressGuest;
  readonly #target: StressGuest;
  #network: BadNetwork | undefined;
  #outgoing: OutgoingMigration | undefined;
  #incoming: IncomingMigration | undefined;
  #recovery: AutoRecovery | undefined;
  /** What happened, for the message of a failure. */
  readonly #log: string[] = [];
  readonly #began = performance.now();

  private constructor(plan: ChaosPlan, recoverForMs: number, source: StressGuest, target: StressGuest) {
    this.#plan = plan;
    this.#recoverForMs = recoverForMs;
    this.#source = source;
    this.#target = target;
  }

  static async create(plan: ChaosPlan, recoverForMs: number): Promise<Migration> {
    return new Migration(plan, recoverForMs, await StressGuest.create(plan.guest), StressGuest.empty(plan.guest));
  }

  /** Runs it to its end. Throws an error that says what is wrong and how it came to that. */
  async run(): Promise<ChaosOutcome> {
    try {
      await this.#connect();
      const [sent, received] = await this.#bothEnd();
      const where = sent === undefined ? 'destination' : 'source';
      this.#requireEndings(sent, received);
      await this.#requireWhole(where);
      const breaks = this.#network?.breaks ?? [];
      const recoveries = this.#recovery?.recoveries ?? { count: 0, pausedMs: 0, longestMs: 0 };
      return { where, breaks, recoveries, history: this.#history() };
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.#history()}`, { cause: error });
    }
  }

  /** Leaves nothing behind, also of one that hangs. */
  async close(): Promise<void> {
    this.#outgoing?.giveUp();
    this.#outgoing?.cancel();
    this.#incoming?.abort();
    await this.#network?.close();
    await Promise.allSettled([this.#outgoing?.finished, this.#incoming?.finished]);
    this.#incoming?.abandon();
    for (const guest of [this.#source, this.#target]) {
      if (guest.running) await guest.stop();
      guest.close();
    }
    rmSync(this.#folder, { recursive: true });
  }

  async #connect(): Promise<void> {
    const { transport, preempt: postcopyPreempt, lanes, precopyPasses, seed, cuts, weather, kinds } = this.#plan;
    const uri = (name: string) => (transport === 'unix' ? `unix:${join(this.#folder, name)}` : 'tcp:127.0.0.1:0');
    const capabilities = { postcopyRam: true, postcopyPreempt };
    const peerTimeoutMs = PEER_TIMEOUT_MS;
    const incoming = await listen(uri('in'), { guest: this.#target, capabilities, peerTimeoutMs, lanes });
    this.#incoming = incoming;
    const network = await BadNetwork.open(uri('out'), incoming.uri, { seed, cuts, weather, kinds });
    this.#network = network;
    this.#source.throttle(IDLE_PERCENT);
    this.#target.throttle(BUSY_PERCENT);
    await this.#source.start();
    const outgoing = await migrate(this.#source, network.uri, {
      capabilities,
      parameters: { maxBandwidth: 0 },
      peerTimeoutMs,
      postcopyAfterPasses: precopyPasses,
      lanes,
    });
    this.#outgoing = outgoing;
    const forMs = this.#recoverForMs;
    this.#recovery = new AutoRecovery(outgoing, {
      ...{ forMs, tell: (text) => this.#note(`source ${text}`) },
      attempt: () => outgoing.recover(network.uri),
      giveUp: () => outgoing.giveUp(),
      isHarmless: () => outgoing.hasPlacedAll,
    });
    new AutoRecovery(incoming, {
      ...{ forMs, tell: (text) => this.#note(`destination ${text}`) },
      attempt: () => incoming.recover(),
      giveUp: () => incoming.giveUp('freeze'),
    });
    const { breaksFrom } = this.#plan;
    outgoing.on('status', (status) => {
      if (status === 'active') this.#source.throttle(BUSY_PERCENT);
      this.#note(`source is ${status}`);
      if (status === breaksFrom || status === 'postcopy-active') network.begin();
    });
    incoming.on('status', (status) => this.#note(`destination is ${status}`));
  }

  /** Why each side failed; undefined where it completed. */
  async #bothEnd(): Promise<readonly (Error | undefined)[]> {
    const errorOf = async (finished: Promise<unknown> | undefined): Promise<Error | undefined> => {
      try {
        await finished;
        return undefined;
      } catch (error) {
        return error as Error;
      }
    };
    const sent = errorOf(this.#outgoing?.finished).then(async (error) => {
      // A source that has its guest still has left: a network that is silent for ever would keep that from the other.
      if (error !== undefined) await this.#network?.close();
      return error;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no end within ${MIGRATION_MS_MAX} ms`)), MIGRATION_MS_MAX);
    });
    try {
      return await Promise.race([Promise.all([sent, errorOf(this.#incoming?.finished)]), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #requireEndings(sent: Error | undefined, received: Error | undefined): void {
    const say = (error: Error | undefined) => error?.stack ?? 'completed';
    if ((sent === undefined) !== (received === undefined)) {
      throw new Error(`one side completed: the source ${say(sent)}, the destination ${say(received)}`);
    }
    if (sent === undefined) return;
    if (this.#outgoing?.handedOver || this.#plan.breaksFrom === 'postcopy-active') {
      throw new Error(`the guest is lost: the source ${say(sent)}, the destination ${say(received)}`);
    }
  }

  /** It runs at that side and no other, and every page holds its last write. */
  async #requireWhole(where: ChaosOutcome['where']): Promise<void> {
    const [guest, other] = where === 'destination' ? [this.#target, this.#source] : [this.#source, this.#target];
    if (!guest.running || other.running) {
      throw new Error(
        `at the source the guest runs: ${this.#source.running}, at the destination: ${this.#target.running}`,
      );
    }
    if (where === 'source' && this.#target.stats.writesHere > 0) throw new Error('it ran at the destination meanwhile');
    const before = guest.stats.writesHere;
    await until('the guest writes', () => guest.stats.writesHere > before);
    await guest.stop();
    for (const [side, each] of Object.entries({ source: this.#source, destination: guest })) {
      const { lostPages, tornPages, stalePages, lostWrites } = await each.verify();
      const { badPages, lostWrites: missed } = each.stats;
      if (lostPages + tornPages + stalePages + lostWrites + badPages + missed === 0) continue;
      throw new Error(
        `memory at the ${side}: ${lostPages} lost, ${tornPages} torn, ${stalePages} stale pages, ${lostWrites} lost ` +
          `writes; the guest came upon ${badPages} bad pages and missed ${missed} writes`,
      );
    }
  }

  #note(what: string): void {
    const breaks = this.#network?.breaks.length ?? 0;
    this.#log.push(`${(performance.now() - this.#began).toFixed(0).padStart(7)} ms, ${breaks} cuts: ${what}`);
  }

  #history(): string {
    const cuts = (this.#network?.breaks ?? []).map(
      ({ connection, direction, after, kind }, index) =>
        `cut ${index + 1}: connection ${connection} ${kind} after ${after} bytes of ${direction}`,
    );
    return [planText(this.#plan), ...cuts, ...this.#log.slice(-60)].join('\n');
  }
}

/**
 * Runs the planned migration; throws an error that says what went wrong, with the cuts that led to it. `recoverForMs`:
 * milliseconds that a pause may last.
 */
export async function chaosMigration(plan: ChaosPlan, recoverForMs = RECOVER_FOR_MS): Promise<ChaosOutcome> {
  const migration = await Migration.create(plan, recoverForMs);
  try {
    return await migration.run();
  } finally {
    await migration.close();
  }
}
