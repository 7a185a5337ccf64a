/**
 * S9, the switch to postcopy: when it returns the package has gone. Migration thread only.
 *
 * In two phases, where the destination can be asked: it answers a ping right before RUN, and until that pong the guest
 * is still this side's, whatever happens to the package or to who loads it. In the plain form it is not any more once
 * the package has gone whole.
 */
import { concatenate } from '../memory/bytes.js';
import * as encode from '../wire/encode.js';
import { Ping } from '../wire/protocol.js';
import type { SourceContext } from './source-context.js';

/** Rounds of discarding while the guest still runs, and the pages of the last that are few enough to leave. */
const EARLY_ROUNDS = 4;
const FEW_PAGES = 128;
/**
 * Milliseconds in which a destination has mostly loaded the device state, and in which it has mostly started the guest:
 * while it does, pages that nobody has asked for would only take the processor from it, and its answers wait behind
 * them. One that takes longer gets those meanwhile.
 */
const LOAD_MS = 100;
/** Milliseconds to wait for a pong before going on without: a slow destination only costs downtime. */
const PONG_PATIENCE_MS = 5000;

type Discarded = ReturnType<SourceContext['ram']['createDiscarded']>;

/** A failure before the package has left throws with the guest still this side's. */
export function startPostcopy(source: SourceContext): void {
  const { ram, pacing, stream, trace, machine } = source;
  const discarded = ram.createDiscarded();
  discardWhileRunning(source, discarded);
  awaitDemandChannels(source);

  source.move('active', machine.answersBeforeRun ? 'postcopy-device' : 'postcopy-active');
  trace.at('postcopy_start');
  trace.at('postcopy_start_set_run');
  source.stopGuest();
  source.sync();
  trace.at('ram_postcopy_send_discard_bitmap');
  ram.sendDiscards(discarded);
  pacing.enterPostcopy();
  source.ping(Ping.STOPPED);
  const package_ = packageOf(source);
  trace.at('savevm_send_packaged', package_.length);
  if (machine.answersBeforeRun) stream.send(encode.encodePackaged(package_));
  else source.handOver(encode.encodePackaged(package_));
  source.enterPostcopy();
  pacing.holdBackground(LOAD_MS);
  if (!machine.answersBeforeRun) end(source);
}

/** Lanes, where the destination takes any, are made by the owner; or else the preempt channel, if that is due now. */
function awaitDemandChannels(source: SourceContext): void {
  const { signals, data, thread } = source;
  if (signals.get('LANES') > 0) source.waitUntil(() => signals.get('LANES_OPEN') !== 0);
  if (signals.get('LANES_OPEN') > 0) return;
  if (data.capabilities.postcopyPreempt && data.preemptChannel === 'switch') {
    thread.owner.call('openPreemptChannel', undefined);
  }
}

/** In two phases: the second, once the destination has answered. It runs the guest when it sees the last ping. */
export function handOverWhenLoaded(source: SourceContext): void {
  if (source.signals.get('PONG') !== Ping.SWITCHOVER) return;
  source.confirmHandOver();
  source.pacing.holdBackground(LOAD_MS);
  end(source);
}

function end(source: SourceContext): void {
  source.ping(Ping.AFTER_PACKAGE);
  source.endDowntime();
  source.thread.emit({ kind: 'switched' });
  source.trace.at('postcopy_start_end');
}

/**
 * Most of the discarding is done before the guest stops, to keep it out of the downtime: what is
 * dirty now will be dirty then, so nothing more of it is sent before the switch. Each round leaves
 * what the guest wrote while the one before was carried out, until that is little. The pong says
 * that the destination has done it, and has no pages of the precopy left to load. Where nothing was
 * sent yet it says that the destination has not refused: it can do postcopy for this memory.
 *
 * The state is still active, so it can be cancelled meanwhile.
 */
function discardWhileRunning(source: SourceContext, discarded: Discarded): void {
  const { ram, signals } = source;
  source.waitUntil(() => signals.get('PONG') !== 0, PONG_PATIENCE_MS);
  if (signals.get('PONG') === 0) return; // it answers no pings
  for (let round = 1; round <= EARLY_ROUNDS; round += 1) {
    const ping = Ping.DISCARDED + round;
    const pages = ram.isLogged ? discard(source, discarded) : 0;
    source.ping(ping);
    source.waitUntil(() => signals.get('PONG') === ping, PONG_PATIENCE_MS);
    if (pages <= FEW_PAGES) return;
  }
}

/** Returns how many pages were dirty. */
function discard(source: SourceContext, discarded: Discarded): number {
  source.sync();
  return source.ram.sendDiscards(discarded);
}

function packageOf(source: SourceContext): Uint8Array {
  const { trace, machine } = source;
  const devices = source.saveDevices();
  trace.at('savevm_state_complete_precopy');
  const pings = machine.answersBeforeRun ? [Ping.PACKAGE, Ping.SWITCHOVER] : [Ping.PACKAGE];
  for (const ping of pings) trace.at('savevm_send_ping', ping);
  return concatenate([
    encode.encodePostcopyListen(),
    ...devices,
    ...pings.map(encode.encodePing),
    encode.encodePostcopyRun(),
  ]);
}
