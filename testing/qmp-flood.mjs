/**
 * Hostile clients of a QMP server, in a process of their own: `node qmp-flood.mjs PATH HOW CLIENTS`. They send as fast
 * as it takes it, and never read: garbage, requests, or one value that never ends. Says "flooding" once all do.
 */
import { connect } from 'node:net';

const [, , path, how, clients] = process.argv;
const repeated = {
  garbage: '}]%nope \u0000"x',
  requests: '{"execute":"query-status"}',
  endless: 'aaaaaaaaaaaaaaaa',
}[how];
const chunk = Buffer.from(repeated.repeat((64 * 1024) / repeated.length));

let flooding = 0;
for (let client = 0; client < Number(clients); client += 1) {
  const socket = connect(path);
  const flood = () => {
    while (socket.writable && socket.write(chunk));
  };
  socket.on('error', () => {});
  socket.on('drain', flood);
  socket.on('connect', () => {
    socket.write('{"execute":"qmp_capabilities"}');
    if (how === 'endless') socket.write('"');
    flood();
    flooding += 1;
    if (flooding === Number(clients)) process.stdout.write('flooding\n');
  });
}
