// Sends a running guest to examples/destination.mjs: one pass of precopy, then postcopy.
//
//   node examples/source.mjs unix:/tmp/migration.sock
import { migrate, StressGuest } from 'postcopy';

const uri = process.argv[2] ?? 'unix:/tmp/migration.sock';

const guest = await StressGuest.create({ memory: 64 * 2 ** 20 });
await guest.start();

const outgoing = await migrate(guest, uri, {
  capabilities: { postcopyRam: true },
  parameters: { maxBandwidth: 0 },
  postcopyAfterPasses: 1,
});
outgoing.on('status', (status) => console.log(`source: ${status}`));

const { downtime, ram } = await outgoing.finished;
console.log(`downtime ${downtime.toFixed(1)} ms, ${ram.normal} pages sent, ${ram.postcopyRequests} of them asked for`);
guest.close();
