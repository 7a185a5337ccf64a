// Takes a guest over: run this first, then examples/source.mjs with the same URI.
//
//   node examples/destination.mjs unix:/tmp/migration.sock
import { listen, StressGuest } from 'postcopy';

const uri = process.argv[2] ?? 'unix:/tmp/migration.sock';

// The guest is made once the source has said how much RAM it has.
const incoming = await listen(uri, {
  capabilities: { postcopyRam: true },
  guest: ([{ usedLength }]) => StressGuest.empty({ memory: usedLength }),
});
console.log(`listening at ${incoming.uri}`);
incoming.on('status', (status) => console.log(`destination: ${status}`));

const { faults } = await incoming.finished;
console.log(`${faults.count} page faults, p50 ${faults.p50Us} µs, p99 ${faults.p99Us} µs`);

const { guest } = incoming;
await guest.stop();
const { pagesChecked, lostWrites } = await guest.verify();
console.log(`${pagesChecked} pages checked, ${lostWrites} writes lost`);
guest.close();
