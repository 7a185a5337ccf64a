// Moves the guest of examples/own-guest.mjs to a second one, both in this process for once: listen() belongs to the
// destination's, migrate() to the source's, and nothing else changes.
//
//   node examples/move-own-guest.mjs
import { listen, migrate } from 'postcopy';
import { EventRing } from './own-guest.mjs';

const capabilities = { postcopyRam: true };
const here = new EventRing();
const there = new EventRing();
await here.start();
while ((await here.count()) < 100_000n); // it has written all of its RAM

const incoming = await listen('tcp:127.0.0.1:0', { guest: there, capabilities });
const outgoing = await migrate(here, incoming.uri, { capabilities, postcopyAfterPasses: 0 });
const [{ downtime }, { faults }] = await Promise.all([outgoing.finished, incoming.finished]);

await there.stop();
there.verify();
console.log(`stopped for ${downtime.toFixed(1)} ms, ${faults.count} page faults`);
console.log(`${await there.count()} events, none of them lost`);
await Promise.all([here.close(), there.close()]);
