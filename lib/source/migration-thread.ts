/**
 * Migration thread: the source's worker that sends the guest, from stream header to EOF.
 *
 * It alone writes the stream. What only the owner can do to the guest (stop, save) it calls for and
 * waits. S4 … S11 are the steps of docs/architecture.md.
 */
import { MigrationError, type PlainError, toPlainError } from '../errors.js';
import { pageOffset, TARGET_PAGE_SIZE } from '../memory/page.js';
import { RAMList } from '../memory/ram-list.js';
import { opensReturnPath } from '../options.js';
import { Kicked } from '../threads/kicked.js';
import { runThread, type ThreadContext } from '../threads/thread.js';
import * as encode from '../wire/encode.js';
import { Ping } from '../wire/protocol.js';
import { AutoConverge } from './auto-converge.js';
import { BandwidthMeter } from './bandwidth-meter.js';
import { nowMs } from './clock.js';
import { complete } from './completion.js';
import {
  type Convergence,
  Narrowing,
  type NextStep,
  needsSync,
  nextStep,
  pendingBytes,
  ramPending,
} from './convergence.js';
import { handOverWhenLoaded, startPostcopy } from './postcopy-start.js';
import { pauseAndRecover } from './recovery.js';
import { rehearse } from './rehearsal.js';
import { type MigrationThreadData, SourceContext, type SourceEvent, type SourceOwnerCalls } from './source-context.js';
import { WriteSampler } from './write-sampler.js';

/** Bytes of a window from which there is a figure for the downtime to expect, as in QEMU. */
const EXPECTED_DOWNTIME_BYTES = 10_000;
/** By how much a window of 100 ms moves the steady bandwidth. */
const STEADY = 0.1;

/** What it failed with; undefined also where it was cancelled. */
export interface MigrationThreadResult {
  readonly error: PlainError | undefined;
}

class MigrationThread {
  readonly #source: SourceContext;
  readonly #meter = new BandwidthMeter(nowMs());
  readonly #narrowing = new Narrowing();
  readonly #autoConverge: AutoConverge | undefined;
  #sampler = new WriteSampler(nowMs());
  #postcopyAfterPasses: number | undefined;
  #passes = 0;

  constructor(data: MigrationThreadData, thread: ThreadContext<SourceEvent, SourceOwnerCalls>) {
    this.#source = new SourceContext(data, thread);
    this.#autoConverge = data.capabilities.autoConverge ? new AutoConverge(this.#source.parameters.all()) : undefined;
    this.#postcopyAfterPasses = data.postcopyAfterPasses;
  }

  /** The owner does the rest of S11: the final state, and the guest runs on there if it was not handed over. */
  run(): MigrationThreadResult {
    const { trace, ram } = this.#source;
    let error: unknown;
    try {
      this.#setup();
      this.#untilCompleted();
    } catch (thrown) {
      error = thrown;
    }
    ram.stopLog();
    try {
      if (error !== undefined && !(error instanceof Kicked)) trace.at('migration_thread_file_err');
      trace.at('migration_thread_after_loop');
    } catch (thrown) {
      error ??= thrown;
    }
    return { error: error === undefined || error instanceof Kicked ? undefined : toPlainError(error) };
  }

  /** S4 to S7. The log of what the guest writes begins before anything is sent, as it may not be there to be had. */
  #setup(): void {
    const { stream, ram, trace, counters, data, machine } = this.#source;
    const startMs = nowMs();
    this.#startLog();
    trace.at('savevm_state_header');
    stream.send(encode.encodeHeader());
    stream.send(encode.encodeConfiguration(machine.configuration));
    if (opensReturnPath(data.capabilities)) {
      trace.at('savevm_send_open_return_path');
      stream.send(encode.encodeOpenReturnPath());
      this.#source.ping(Ping.SETUP);
      this.#source.ping(Ping.RUNS);
      if (data.lanes.length > 0) this.#source.ping(Ping.LANES + data.lanes.length);
    }
    if (data.capabilities.postcopyRam) {
      const { pageSizeSummary } = new RAMList(data.blocks);
      trace.at('savevm_send_postcopy_advise');
      stream.send(encode.encodePostcopyAdvise({ pageSizeSummary, targetPageSize: TARGET_PAGE_SIZE }));
    }
    trace.at('savevm_state_setup');
    ram.setUp(data.capabilities.postcopyRam);
    counters.set('setupTime', nowMs() - startMs);
    this.#sampler = new WriteSampler(nowMs()); // the log is on, and nothing was sent yet
    this.#source.move('setup', 'active');
    trace.at('migration_thread_setup_complete');
  }

  /** Where there can be no log: postcopy at once, or a guest that stands still, or an error. */
  #startLog(): void {
    const { ram, thread, data } = this.#source;
    if (data.postcopyAfterPasses === 0) return; // nothing is sent before the stop, so there is nothing to find
    try {
      ram.startLog();
      thread.emit({ kind: 'tracking', tracking: data.writeLog?.kind ?? 'wp-async' });
    } catch (cause) {
      const why = `what the guest writes can't be tracked here (${(cause as Error).message})`;
      if (data.capabilities.postcopyRam) {
        this.#postcopyAfterPasses = 0;
        const warning = new MigrationError('PRECOPY_UNAVAILABLE', `${why}, so there is no precopy`, {
          hint: 'run "postcopy probe" for how to allow it; the migration goes on with postcopy alone',
        });
        thread.emit({ kind: 'warning', warning: toPlainError(warning) });
      } else if (data.guestRuns) {
        throw new MigrationError('PRECOPY_UNAVAILABLE', `${why}, which a precopy needs`, {
          hint: 'switch on the capability postcopyRam at both sides, or stop the guest first',
          cause,
        });
      }
    }
  }

  /** In postcopy a lost connection is no end. */
  #untilCompleted(): void {
    for (;;) {
      try {
        return this.#loop();
      } catch (error) {
        this.#lookForPledge();
        pauseAndRecover(this.#source, error);
      }
    }
  }

  /** A destination that has answered may run the guest, also where the connection breaks before that is seen. */
  #lookForPledge(): void {
    try {
      if (this.#source.isHandingOver) handOverWhenLoaded(this.#source);
    } catch {
      // What has broken is known.
    }
  }

  /** S8. */
  #loop(): void {
    const source = this.#source;
    for (;;) {
      const attention = source.signals.get('ATTENTION');
      // First: a destination that has answered may run the guest, also where the connection has broken since.
      if (source.isHandingOver) handOverWhenLoaded(source);
      source.checkStillWanted();
      if (needsSync(this.#convergence())) this.#endPass();
      const convergence = this.#convergence();
      const step = nextStep(convergence);
      this.#tracePending(convergence, step);
      if (step === 'complete') return complete(source);
      if (step === 'start-postcopy') startPostcopy(source);
      else this.#iterate();
      this.#measure();
      source.pacing.rest(attention);
    }
  }

  #iterate(): void {
    const { ram, pacing, inPostcopy } = this.#source;
    if (!inPostcopy) this.#sampleWrites();
    if (pacing.maySend()) ram.iterate(inPostcopy ? 'postcopyBytes' : 'precopyBytes', pacing);
    const ping = pacing.duePing();
    if (ping !== undefined) this.#source.ping(ping);
  }

  /** Looks how the guest writes, for a forecast. Whoever asks for the switch wants it now. */
  #sampleWrites(): void {
    const { ram, signals } = this.#source;
    const startMs = nowMs();
    if (!ram.canSampleWrites || signals.get('START_POSTCOPY') === 1 || !this.#sampler.isDue(startMs)) return;
    const pages = ram.sampleWrites();
    this.#logRead(startMs, pages);
  }

  #logRead(startMs: number, pages: number): void {
    const { counters } = this.#source;
    this.#sampler.read(startMs, nowMs(), pages);
    const [short, long] = this.#sampler.windows;
    counters.set('shortWindowMs', short.ms);
    counters.set('shortWindowPages', short.pages);
    counters.set('longWindowMs', long.ms);
    counters.set('longWindowPages', long.pages);
  }

  #endPass(): void {
    const { thread, ram } = this.#source;
    const startMs = nowMs();
    const period = this.#source.sync();
    if (ram.isLogged) this.#logRead(startMs, ram.lastFound);
    this.#narrowing.synced(pageOffset(ram.remainingPages));
    this.#passes += 1;
    thread.emit({ kind: 'pass', passes: this.#passes });
    const percent = period === undefined ? undefined : this.#autoConverge?.next(period);
    if (percent === undefined) return;
    this.#source.trace.at('migration_throttle', percent);
    thread.emit({ kind: 'throttle', percent });
  }

  #convergence(): Convergence {
    const { ram, signals, inPostcopy, data, parameters } = this.#source;
    const { bytesPerSecond } = this.#meter;
    const restBytes = pageOffset(ram.remainingPages);
    return {
      pending: ramPending(restBytes, data.capabilities.postcopyRam),
      thresholdBytes: (bytesPerSecond * parameters.get('downtimeLimit')) / 1000,
      narrows: this.#narrowing.isWorth(restBytes, bytesPerSecond),
      inPostcopy,
      handingOver: this.#source.isHandingOver,
      postcopyAsked: data.capabilities.postcopyRam && signals.get('START_POSTCOPY') === 1,
      passes: this.#passes,
      postcopyAfterPasses: this.#postcopyAfterPasses,
    };
  }

  #tracePending({ pending, thresholdBytes }: Convergence, step: NextStep): void {
    const { trace } = this.#source;
    const bytes = pendingBytes(pending);
    trace.at('migrate_pending', bytes, thresholdBytes, pending.canPostcopyBytes, pending.mustPrecopyBytes);
    if (step === 'complete') trace.at('migration_thread_low_pending', bytes);
  }

  #measure(): void {
    const { counters, ram } = this.#source;
    const pages = counters.get('normal') + counters.get('duplicate');
    if (!this.#meter.measure(nowMs(), counters.get('transferred'), pages)) return;
    const { bytesPerSecond, pagesPerSecond, windowBytes } = this.#meter;
    counters.set('bandwidth', bytesPerSecond);
    counters.set('pagesPerSecond', pagesPerSecond);
    const steady = counters.get('steadyBandwidth');
    counters.set('steadyBandwidth', steady === 0 ? bytesPerSecond : steady + (bytesPerSecond - steady) * STEADY);
    if (counters.get('dirtyPagesRate') > 0 && windowBytes > EXPECTED_DOWNTIME_BYTES) {
      counters.set('expectedDowntime', (pageOffset(ram.remainingPages) / bytesPerSecond) * 1000);
    }
  }
}

const migrate = (data: MigrationThreadData, thread: ThreadContext<SourceEvent, SourceOwnerCalls>) =>
  new MigrationThread(data, thread).run();

runThread<MigrationThreadData, MigrationThreadResult, SourceEvent, SourceOwnerCalls>(migrate, (owner, hasWork) =>
  rehearse(owner, hasWork, migrate),
);
