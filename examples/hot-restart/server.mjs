// An in-memory key-value server that speaks to clients of Redis, and is restarted with its memory and its clients:
//
//   node examples/hot-restart/server.mjs --port 7000 --memory 1536
//   kill -USR2 PID
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { parseArgs } from 'node:util';
import { WorkerGuest } from 'postcopy';
import { Clients } from './clients.mjs';
import { handOver, moveGuest, takeOver } from './restart.mjs';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '7000' },
    memory: { type: 'string', default: '256' }, // MiB
    passes: { type: 'string', default: '1' }, // of precopy, before the switch to postcopy
    rate: { type: 'string', default: '0' }, // MiB a second, of what comes behind the switch; 0 is no limit
    pidfile: { type: 'string' },
    program: { type: 'string', default: './store.mjs' },
  },
});
const say = (text) => console.log(`${process.pid}: ${text}`);

let restart = async () => say('not restarted: the restart before is not over yet');
process.on('SIGUSR2', () => restart());

const guest = await WorkerGuest.create({
  program: new URL(options.program, import.meta.url),
  blocks: [{ idstr: 'table', size: Number(options.memory) * 2 ** 20 }],
});
guest.died.then((error) => endAtOnce(error.message));
const clients = new Clients(guest);

// A process whose guest waits for a page that never comes can't exit, and must not answer from what it has.
function endAtOnce(why) {
  say(why);
  process.kill(process.pid, 'SIGKILL');
}

function serve(server) {
  server.pauseOnConnect = true; // sockets that have no client yet can be passed on as they are
  server.on('connection', (socket) => clients.add(socket));
  if (options.pidfile !== undefined) writeFileSync(options.pidfile, `${process.pid}\n`);
  say(`serves at port ${server.address().port}`);
  return server;
}

async function restartFrom(server) {
  restart = async () => say('not restarted: a restart is under way');
  try {
    const { successor, outgoing } = await moveGuest(guest, Number(options.passes), Number(options.rate) * 2 ** 20);
    const result = await handOver(successor, outgoing, { guest, server, clients });
    say(`ends; downtime ${result.downtime.toFixed(1)} ms, ${result.clients} clients and ${result.pages} pages moved`);
  } catch (error) {
    if (!guest.running) throw error; // too late: it was handed over
    say(`not restarted, serving on: ${error.message}`);
    restart = () => restartFrom(server);
  }
}

if (process.send === undefined) {
  const server = createServer();
  await guest.start();
  server.listen(Number(options.port), '127.0.0.1', () => serve(server));
  restart = () => restartFrom(server);
} else {
  let server;
  const faults = await takeOver(guest, {
    onListener: (listener) => {
      server = serve(listener);
    },
    onClient: (socket, before) => clients.add(socket, before),
  }).catch((error) => {
    if (!guest.running) throw error;
    endAtOnce(`ends, without all of the memory: ${error.message}`);
  });
  say(`has all of the memory; ${faults.count} page faults, the longest ${(faults.maxUs / 1000).toFixed(1)} ms`);
  restart = () => restartFrom(server);
}
