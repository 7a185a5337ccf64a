/**
 * Hostile clients of an HTTP server at loopback, in a process of their own: `node http-flood.mjs PORT HOW CLIENTS`.
 * Each connects again when it is closed. Says "flooding" once all have connected.
 */
import { connect } from 'node:net';

const [, , port, how, clients] = process.argv;
const head = 'GET / HTTP/1.1\r\nHost: localhost\r\n';
/** What each sends when it connects, and then again and again whenever it can. */
const ways = {
  garbage: { first: '', more: '\0\u0001}]%nope \r\n'.repeat(1000) },
  heads: { first: head, more: `X-${'x'.repeat(50)}: ${'x'.repeat(4000)}\r\n` },
  requests: { first: '', more: `${head}\r\n`.repeat(100) },
  slow: { first: head.slice(0, 20), more: undefined },
  silent: { first: '', more: undefined },
  readers: { first: 'GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n', more: undefined },
  others: { first: `GET /model.json HTTP/1.1\r\nHost: evil.example\r\n\r\n`, more: undefined },
};
const { first, more } = ways[how];

let connected = 0;
function client() {
  const socket = connect(Number(port), '127.0.0.1');
  if (how === 'readers') socket.pause();
  else socket.resume();
  const flood = () => {
    while (more !== undefined && socket.writable && socket.write(more));
  };
  socket.on('error', () => {});
  socket.on('drain', flood);
  socket.on('close', () => setImmediate(client));
  socket.on('connect', () => {
    if (first !== '') socket.write(first);
    flood();
    connected += 1;
    if (connected === Number(clients)) process.stdout.write('flooding\n');
  });
}
for (let count = 0; count < Number(clients); count += 1) client();
