/** What a thread does that serves and nothing else: the other side of serving-thread.ts. */
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { toPlainError } from '../errors.js';
import type { FromServing, ToServing } from './serving-thread.js';

/** Nice: the last of all. */
const LAST = 19;

/** What is served. */
export interface Served<To> {
  readonly uri: string;
  readonly url: string;
  onMessage(message: To): void;
  close(): Promise<void>;
}

/** Serves what `open` resolves with until its owner closes it; `open` is given how to tell the owner something. */
export function serveInThread<To, From>(open: (tell: (message: From) => void) => Promise<Served<To>>): void {
  const post = (message: FromServing<From>) => parentPort?.postMessage(message);
  const serve = async () => {
    setPriority(LAST); // of this thread alone
    const served = await open((message) => post({ kind: 'own', message }));
    parentPort?.on('message', (message: ToServing<To>) => {
      if (message.kind === 'own') served.onMessage(message.message);
      else void served.close().then(() => parentPort?.close());
    });
    post({ kind: 'listening', uri: served.uri, url: served.url });
  };
  serve().catch((error) => {
    post({ kind: 'failed', error: toPlainError(error) });
    parentPort?.close();
  });
}
