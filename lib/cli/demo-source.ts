/** The demo's source process: a guest that runs, then is migrated away. */
import { watchOutgoing } from '../dashboard/side-watch.js';
import { describeError } from '../errors.js';
import { migrate } from '../migration/migrate.js';
import { prepareMigration } from '../migration/prepare-migration.js';
import type { Forecast } from '../source/forecast.js';
import { demoGuests } from './demo-guest.js';
import { lookForTheLastTime, recoverByItself, reportProgress, runSide, showSide, tell } from './demo-side.js';

await runSide(async (settings, cancelled, told) => {
  const { precopyPasses, maxBandwidth, maxPostcopyBandwidth, downtimeLimit, autoConverge } = settings;
  tell({ kind: 'doing', what: 'filling the guest’s RAM' });
  const guest = await demoGuests[settings.guest].create(settings);
  await guest.start();
  const prepared = await prepareMigration();
  tell({ kind: 'ready', uri: settings.uri });
  const uri = await told;
  const outgoing = await migrate(guest, uri, {
    capabilities: { postcopyRam: true, autoConverge, postcopyPreempt: settings.postcopyPreempt },
    parameters: { maxBandwidth, maxPostcopyBandwidth, downtimeLimit },
    postcopyAfterPasses: precopyPasses,
    peerTimeoutMs: settings.peerTimeoutMs,
    lanes: settings.lanes,
    prepared,
    signal: cancelled,
  });
  showSide(watchOutgoing(outgoing, () => guest.stats));
  let passes = 0;
  let throttledPercent = 0;
  outgoing.on('pass', (done) => {
    passes = done;
    tell({ kind: 'event', text: `pass ${done} is done`, level: 'debug' });
  });
  outgoing.on('throttle', (percent) => {
    throttledPercent = Math.max(throttledPercent, percent);
  });
  outgoing.on('warning', (warning) => tell({ kind: 'event', text: describeError(warning), level: 'warn' }));
  const recovery = recoverByItself(outgoing, cancelled, {
    forMs: settings.recoverForMs,
    attempt: () => outgoing.recover(uri),
    giveUp: () => outgoing.giveUp(),
    isHarmless: () => outgoing.hasPlacedAll,
  });
  outgoing.on('status', (status) => tell({ kind: 'status', status }));
  const look = () => ({ info: outgoing.info(), guest: guest.stats, recoveries: recovery.recoveries });
  let lastForecast: Forecast | null = null;
  const stopReporting = reportProgress(() => {
    const forecast = outgoing.forecast() ?? null;
    lastForecast = forecast ?? lastForecast;
    return { side: 'source', passes, forecast, ...look() };
  });
  try {
    await outgoing.finished;
  } finally {
    stopReporting();
    await guest.stop();
  }
  const size = guest.ramBlocks.reduce((sum, block) => sum + block.size, 0);
  lookForTheLastTime(settings);
  tell({ kind: 'done', done: { side: 'source', memory: size, throttledPercent, forecast: lastForecast, ...look() } });
  guest.close();
});
