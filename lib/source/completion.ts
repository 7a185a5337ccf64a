/** S10, the end in whichever state it comes: what is left, then the end of the stream. Migration thread only. */
import * as encode from '../wire/encode.js';
import type { SourceContext } from './source-context.js';
import { ReturnPathPhase } from './source-signals.js';

/** When it returns the migration is completed: the destination has had the last word. */
export function complete(source: SourceContext): void {
  const from = source.inPostcopy ? 'postcopy-active' : 'device';
  if (source.inPostcopy) completePostcopy(source);
  else completePrecopy(source);
  source.sentAll();
  awaitReturnPathClose(source);
  source.move(from, 'completed');
}

/** It can be cancelled until the guest and all of its RAM are ready to go, in the state `active`. */
function completePrecopy(source: SourceContext): void {
  const { ram, pacing, stream, trace } = source;
  trace.at('migration_completion_precopy');
  source.stopGuest();
  pacing.lift();
  source.sync();
  ram.complete('downtimeBytes', pacing);
  const devices = source.saveDevices();
  source.move('active', 'device');
  trace.at('savevm_state_complete_precopy');
  for (const piece of devices) stream.send(piece);
  source.handOver(encode.encodeEof());
  stream.send(encode.encodeVmDescription(source.machine.vmDescription));
  source.endDowntime();
}

function completePostcopy(source: SourceContext): void {
  const { ram, pacing, stream, trace } = source;
  trace.at('migration_completion_postcopy_end');
  ram.complete('postcopyBytes', pacing);
  source.endDemandChannels();
  awaitAllPlaced(source);
  source.sentAll();
  stream.send(encode.encodeEof());
  trace.at('migration_completion_postcopy_end_after_complete');
}

/**
 * Before the end of the stream goes, whose last word may be lost: from here on it is known that nothing is missing at
 * the destination, and whoever gives up a recovery loses nothing.
 */
function awaitAllPlaced(source: SourceContext): void {
  const { pacing, signals } = source;
  if (signals.get('PONG') === 0) return; // it answers no pings
  const last = pacing.ping();
  source.ping(last);
  source.waitUntil(() => signals.get('PONG_PLACED') === last);
  signals.set('ALL_PLACED', 1);
}

/** Without a return path the end of the stream is the end. */
function awaitReturnPathClose(source: SourceContext): void {
  const { signals, trace } = source;
  if (signals.get('RETURN_PATH') === ReturnPathPhase.NONE) return;
  trace.at('await_return_path_close_on_source_joining');
  source.waitUntil(() => signals.get('RETURN_PATH') === ReturnPathPhase.CLOSED);
  trace.at('await_return_path_close_on_source_close');
}
