/** The demo's destination process: takes the guest over, lets it run on, and checks every page. */
import { setTimeout as delay } from 'node:timers/promises';
import { watchIncoming } from '../dashboard/side-watch.js';
import { countLatency } from '../metrics/latency-histogram.js';
import { listen } from '../migration/listen.js';
import { demoGuests } from './demo-guest.js';
import { lookForTheLastTime, recoverByItself, reportProgress, runSide, showSide, tell } from './demo-side.js';

/** Milliseconds that the guest runs on with all its pages there, before it is stopped and checked. */
const RUN_ON_MS = 200;

await runSide(async (settings, cancelled) => {
  const guest = await demoGuests[settings.guest].empty(settings);
  const { postcopyPreempt, peerTimeoutMs, prefetch, lanes, countsLatency } = settings;
  const capabilities = { postcopyRam: true, postcopyBlocktime: true, postcopyPreempt };
  const incoming = await listen(settings.uri, {
    guest,
    capabilities,
    peerTimeoutMs,
    prefetch,
    lanes,
    signal: cancelled,
  });
  recoverByItself(incoming, cancelled, {
    forMs: settings.recoverForMs,
    attempt: () => incoming.recover(),
    giveUp: () => incoming.giveUp('freeze'),
  });
  showSide(watchIncoming(incoming, () => guest.stats));
  tell({ kind: 'ready', uri: incoming.uri });
  const stopReporting = reportProgress(() => ({
    side: 'destination',
    info: incoming.info(),
    guest: guest.stats,
    ...(countsLatency ? { latency: countLatency(incoming) } : {}),
  }));
  try {
    await incoming.finished;
    await delay(RUN_ON_MS, undefined, { signal: cancelled });
    await guest.stop();
  } finally {
    stopReporting();
  }
  tell({ kind: 'doing', what: 'checking every page' });
  const verdict = await guest.verify();
  const { length } = guest.ramBlocks;
  lookForTheLastTime(settings);
  tell({
    kind: 'done',
    done: { side: 'destination', info: incoming.info(), guest: guest.stats, blocks: length, verdict },
  });
  guest.close();
});
