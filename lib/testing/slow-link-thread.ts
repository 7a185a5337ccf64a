/** Worker: a relay to `uri` that takes its time. In an event loop of its own, as a guest may block that of a test. */
import { parentPort, workerData } from 'node:worker_threads';
import { createRelay } from '../relay/relay.js';

const { uri, delayMs } = workerData as { readonly uri: string; readonly delayMs: number };
const relay = await createRelay('tcp:127.0.0.1:0', uri, { delayMs });
parentPort?.once('message', async () => {
  await relay.close();
  parentPort?.close();
});
parentPort?.postMessage(relay.uri);
