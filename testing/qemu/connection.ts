/** A socket of a scripted peer, to or from a migration URI of QEMU's. */
import { createServer, type NetConnectOpts, type Server, Socket } from 'node:net';
import { parseUri } from '#lib/channel/uri.js';

function optionsOf(uri: string): NetConnectOpts {
  const address = parseUri(uri);
  return address.family === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
}

/** Rejects when nobody listens there. */
export async function connectTo(uri: string): Promise<Socket> {
  const socket = new Socket({ allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.connect(optionsOf(uri), () => {
      socket.off('error', reject);
      resolve();
    });
  });
  return socket;
}

/** Listens; `accept` is called for each connection. */
export async function listenOn(uri: string, accept: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, accept);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(optionsOf(uri), resolve);
  });
  return server;
}

/** Resolves once the bytes have been handed to the kernel; rejects with what went wrong. */
export async function write(socket: Socket, bytes: Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
