/** The demo's source process: a guest that runs, then is migrated away. */
import { describeError } from '../errors.js';
import { migrate } from '../migration/migrate.js';
import { demoGuests } from './demo-guest.js';
import { reportProgress, runSide, tell } from './demo-side.js';

await runSide(async (settings, cancelled, told) => {
  const { precopyPasses, maxBandwidth, maxPostcopyBandwidth, downtimeLimit, autoConverge } = settings;
  tell({ kind: 'doing', what: 'filling the guest’s RAM' });
  const guest = await demoGuests[settings.guest].create(settings);
  await guest.start();
  tell({ kind: 'ready', uri: settings.uri });
  const outgoing = await migrate(guest, await told, {
    capabilities: { postcopyRam: true, autoConverge },
    parameters: { maxBandwidth, maxPostcopyBandwidth, downtimeLimit },
    postcopyAfterPasses: precopyPasses,
    signal: cancelled,
  });
  let passes = 0;
  let throttledPercent = 0;
  outgoing.on('pass', (done) => {
    passes = done;
  });
  outgoing.on('throttle', (percent) => {
    throttledPercent = Math.max(throttledPercent, percent);
  });
  outgoing.on('warning', (warning) => tell({ kind: 'doing', what: describeError(warning) }));
  const info = () => outgoing.info();
  const stopReporting = reportProgress(() => ({ side: 'source', info: info(), guest: guest.stats, passes }));
  try {
    await outgoing.finished;
  } finally {
    stopReporting();
    await guest.stop();
  }
  const size = guest.ramBlocks.reduce((sum, block) => sum + block.size, 0);
  tell({ kind: 'done', done: { side: 'source', info: info(), guest: guest.stats, memory: size, throttledPercent } });
  guest.close();
});
