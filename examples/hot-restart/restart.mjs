// Both sides of a restart: the process that serves, and its successor, which it starts.
//
// The memory goes by a migration over a unix socket; over the channel between the two processes go the listening
// socket, and every client's. Until the successor has the guest the old process can go on as if nothing had been.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listen, migrate } from 'postcopy';

const capabilities = { postcopyRam: true };
const START_TIMEOUT_MS = 10_000;

// What the successor says next, or the reason why it says nothing.
async function nextWord(successor) {
  const ended = once(successor, 'exit').then(([code, signal]) => {
    throw new Error(`the successor ended with ${signal ?? code}`);
  });
  const signal = AbortSignal.timeout(START_TIMEOUT_MS);
  const [word] = await Promise.race([once(successor, 'message', { signal }), ended]);
  return word;
}

// Resolved when the successor has all that it needs to run the guest; what it lacks of the memory comes behind.
async function switched(outgoing) {
  const switching = new Promise((resolve) => {
    outgoing.on('status', (status) => status === 'postcopy-active' && resolve());
  });
  await Promise.race([switching, outgoing.finished]);
  await outgoing.startPostcopy();
}

// Old process. Resolved once the successor has the guest, while pages still go. Where it throws, the guest runs on
// here, or it was handed over and is lost.
export async function moveGuest(guest, passes, maxPostcopyBandwidth) {
  const successor = fork(process.argv[1], process.argv.slice(2), { detached: true, serialization: 'advanced' });
  let outgoing;
  try {
    const { uri, shape } = await nextWord(successor);
    guest.requireFits(shape); // it would say so itself, but when the guest has been handed over
    outgoing = await migrate(guest, uri, {
      capabilities,
      parameters: { maxBandwidth: 0, maxPostcopyBandwidth },
      postcopyAfterPasses: passes,
    });
    // The two are on one host: a connection that breaks means that the successor has ended, and nobody recovers it.
    outgoing.on('status', (status) => status === 'postcopy-paused' && outgoing.giveUp());
    await switched(outgoing);
    return { successor, outgoing };
  } catch (error) {
    if (!outgoing?.handedOver) successor.kill('SIGKILL');
    throw error;
  }
}

// Old process: the successor has the guest. Resolved when it has all else, too, and this process may end.
export async function handOver(successor, outgoing, { guest, server, clients }) {
  guest.takeUnanswered(); // each client has its own, and takes them along
  const forward = (socket) => successor.send({ kind: 'client', rest: Buffer.alloc(0), unanswered: [] }, socket);
  server.removeAllListeners('connection');
  server.on('connection', forward); // until it is closed here
  const serves = nextWord(successor);
  successor.send({ kind: 'listener' }, server, () => server.close());
  const handed = clients.handOver(successor);
  const [{ downtime, ram }] = await Promise.all([outgoing.finished, serves]);
  guest.close();
  const count = await handed; // which is longer where a client is slow to read
  // The successor ends the channel, once it has read all: at an end that comes behind a socket, libuv may take what
  // lies before it for nothing.
  successor.send({ kind: 'end' });
  await once(successor, 'disconnect');
  successor.unref();
  return { clients: count, downtime, pages: ram.normal + ram.duplicate };
}

// Successor: calls back with the listening socket and with clients, once each has come.
export async function takeOver(guest, { onListener, onClient }) {
  const folder = await mkdtemp(join(tmpdir(), 'hot-restart-'));
  const incoming = await listen(`unix:${join(folder, 'memory.sock')}`, { guest, capabilities });
  let hasListener = false;
  process.on('message', (message, handle) => {
    if (message.kind === 'listener') {
      hasListener = true;
      onListener(handle);
      process.send({ serves: true });
    } else if (message.kind === 'end') {
      process.disconnect();
    } else if (handle !== undefined) onClient(handle, message); // one that has gone meanwhile has none
  });
  process.once('disconnect', () => hasListener || incoming.abort()); // the old process has gone, and never will come
  incoming.on('status', (status) => status === 'postcopy-paused' && incoming.giveUp('freeze')); // gone later than that
  process.send({ uri: incoming.uri, shape: guest.shape });
  try {
    const [{ faults }] = await Promise.all([incoming.finished, once(process, 'disconnect')]);
    return faults;
  } finally {
    await rm(folder, { recursive: true });
  }
}
