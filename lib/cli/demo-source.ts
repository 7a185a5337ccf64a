/** The demo's source process: a stress guest that runs, then is migrated away. */
import { StressGuest } from '../guest/stress-guest.js';
import { migrate } from '../migration/migrate.js';
import { reportProgress, runSide, tell } from './demo-side.js';

await runSide(async (settings, cancelled, told) => {
  const { memory, kind, vcpus, writesPerSecond, workingSetShare, precopyPasses, maxBandwidth, maxPostcopyBandwidth } =
    settings;
  tell({ kind: 'doing', what: 'filling the guest’s RAM' });
  using guest = await StressGuest.create({ memory, kind, vcpus, writesPerSecond, workingSetShare });
  await guest.start();
  tell({ kind: 'ready', uri: settings.uri });
  const outgoing = await migrate(guest, await told, {
    capabilities: { postcopyRam: true },
    parameters: { maxBandwidth, maxPostcopyBandwidth },
    postcopyAfterPasses: precopyPasses,
    signal: cancelled,
  });
  let passes = 0;
  outgoing.on('pass', (done) => {
    passes = done;
  });
  const stopReporting = reportProgress(() => ({ side: 'source', info: outgoing.info(), guest: guest.stats, passes }));
  try {
    await outgoing.finished;
  } finally {
    stopReporting();
    await guest.stop();
  }
  tell({ kind: 'done', done: { side: 'source', info: outgoing.info(), guest: guest.stats } });
});
