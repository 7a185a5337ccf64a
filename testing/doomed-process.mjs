/** The process of testing/doomed-destination.ts: a destination that does as its parent says, and says what it finds. */
import { Worker } from 'node:worker_threads';
import { listen, RAMBlock } from '#lib/index.js';

const [kind, pages] = process.argv.slice(2);
const say = (answer) => process.send(answer);
const block = RAMBlock.create({ idstr: 'ram', size: Number(pages) * 4096, kind });
const guest = {
  ramBlocks: [block],
  start: async () => {},
  stop: async () => {},
  saveDeviceState: async () => new Uint8Array(),
  loadDeviceState: async () => {},
};

/** In a thread of its own, as it may wait. */
const reader = `
  const { parentPort, workerData: { url, handle, page, name } } = require('node:worker_threads');
  import(url).then(({ native }) => {
    native().setThreadName(name);
    const bytes = new Uint8Array(1);
    native().ramBlockRead(handle, page * 4096, bytes);
    parentPort.postMessage(bytes[0]);
  });
`;

function touch({ page, thread }) {
  const workerData = { url: import.meta.resolve('#lib/native.js'), handle: block.handle, page, name: thread };
  const worker = new Worker(reader, { eval: true, workerData });
  worker.on('message', (byte) => say({ kind: 'touched', page, byte }));
}

const incoming = await listen('tcp:127.0.0.1:0', { guest, capabilities: { postcopyRam: true } });
incoming.on('status', (status) => say({ kind: 'status', status }));
incoming.finished.catch(({ code }) => say({ kind: 'failed', code, lost: incoming.info().lost }));
process.on('message', (order) => (order.kind === 'give-up' ? incoming.giveUp('poison') : touch(order)));
say({ kind: 'listening', uri: incoming.uri });
