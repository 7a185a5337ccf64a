/**
 * S13, pause and recovery in postcopy: the connection is lost, the guest runs on at the destination with what it has,
 * and over another connection it is told what is still to come, as often as it takes. Migration thread only.
 */
import { MigrationError, toPlainError } from '../errors.js';
import * as encode from '../wire/encode.js';
import type { SourceContext } from './source-context.js';
import { Resume, ReturnPathPhase } from './source-signals.js';

/** Returns once the migration goes on. Rethrows `error` where it does not pause; throws Kicked where it is given up. */
export function pauseAndRecover(source: SourceContext, error: unknown): void {
  let reason = error;
  for (;;) {
    if (!pauses(source, reason)) throw reason;
    source.trace.at('postcopy_pause');
    source.awaitRecovery(toPlainError(reason));
    try {
      return resume(source);
    } catch (failure) {
      reason = failure;
    }
  }
}

/**
 * What is wrong with the connection, or with what came over it, pauses; not what is wrong with the guest or this host,
 * nor the destination's word that it has failed.
 */
function pauses({ status, signals }: SourceContext, error: unknown): boolean {
  if (status !== 'postcopy-active' && status !== 'postcopy-recover') return false;
  if (signals.get('RETURN_PATH') === ReturnPathPhase.REFUSED) return false;
  return error instanceof MigrationError && error.code !== 'GUEST_FAILED';
}

/** Asks for the received bitmaps, makes them what is still to be sent, and has the destination go on. */
function resume(source: SourceContext): void {
  const { stream, signals, ram, pacing, trace } = source;
  const { blocks } = source.data;
  source.move('postcopy-recover-setup', 'postcopy-recover');
  for (const { idstr } of blocks) {
    trace.at('savevm_send_recv_bitmap');
    stream.send(encode.encodeRecvBitmap(idstr));
  }
  source.waitUntil(() => signals.get('BITMAPS') === blocks.length);
  ram.resume();
  signals.set('RESUME', Resume.SENT);
  trace.at('savevm_send_postcopy_resume');
  stream.send(encode.encodePostcopyResume());
  source.waitUntil(() => signals.get('RESUME') === Resume.ACKNOWLEDGED);
  pacing.reconnect();
  source.move('postcopy-recover', 'postcopy-active');
  trace.at('postcopy_pause_continued');
}
