/** Connecting to who should listen, and waiting for it to. Event loop. */
import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connectError } from '../channel/connect.js';
import { parseUri } from '../channel/uri.js';

/** What a socket of a relay buffers each way before it holds its sender back. */
export const SOCKET_BUFFER_BYTES = 256 * 1024;
/** Milliseconds from one attempt to the next. */
const RETRY_MS = 100;

/** Nobody there yet, or too many before us: what a later attempt may find otherwise. */
const worthRetrying = new Set(['ECONNREFUSED', 'ENOENT', 'EAGAIN']);

/** Options of a stream, which net.connect hands on to the socket it makes, and its types do not know. */
const streamBuffers: object = { highWaterMark: SOCKET_BUFFER_BYTES };

/** What net.connect and server.listen take for a migration URI. Throws BAD_URI. */
export function netAddress(uri: string): NetConnectOpts {
  const address = parseUri(uri);
  return address.family === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
}

export interface DialOptions {
  /** Milliseconds in all. */
  readonly timeoutMs: number;
  /** Called once, when the first attempt has found nobody. */
  readonly waiting: () => void;
  readonly signal: AbortSignal;
}

/**
 * A connection to `uri`, paused; its caller listens for its errors from the start. Rejects with BAD_URI,
 * CONNECT_REFUSED or CONNECT_FAILED, or with the signal's reason.
 */
export async function dial(uri: string, { timeoutMs, waiting, signal }: DialOptions): Promise<Socket> {
  const address = netAddress(uri);
  const until = performance.now() + timeoutMs;
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await attemptOnce(address, signal);
    } catch (error) {
      signal.throwIfAborted();
      const retries = worthRetrying.has((error as NodeJS.ErrnoException).code ?? '');
      if (!retries || performance.now() + RETRY_MS > until) throw connectError(uri, error);
      if (attempt === 0) waiting();
      await delay(RETRY_MS, undefined, { signal }).catch(() => {}); // or at the signal
    }
  }
}

function attemptOnce(address: NetConnectOpts, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...address, allowHalfOpen: true, ...streamBuffers });
    socket.pause();
    const abandon = () => socket.destroy();
    const settle = (act: () => void) => () => {
      signal.removeEventListener('abort', abandon);
      act();
    };
    signal.addEventListener('abort', abandon);
    socket.once(
      'connect',
      settle(() => resolve(socket)),
    );
    socket.once('error', (error) => settle(() => reject(error))());
    socket.once(
      'close',
      settle(() => reject(signal.reason)),
    );
  });
}
