/**
 * The thread that serves the live page: it keeps what it is told, and does all that clients can ask for. It comes after
 * every other thread of this host, so whatever clients do, a migration goes on as if there were none.
 */
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { type PlainError, toPlainError } from '../errors.js';
import { LivePage } from './live-page.js';
import type { Model, Run } from './model.js';
import { withUpdate } from './view/shown.js';

export interface DashboardThreadData {
  readonly uri: string;
  readonly anyHost: boolean;
  readonly model: Model;
}

/** From the owner. */
export type ToDashboard = { readonly kind: 'tell'; readonly updates: readonly Run[] } | { readonly kind: 'close' };

/** To the owner: `watched` each time that somebody is the first who looks, or the last who has looked goes. */
export type FromDashboard =
  | { readonly kind: 'listening'; readonly url: string }
  | { readonly kind: 'failed'; readonly error: PlainError }
  | { readonly kind: 'watched'; readonly isWatched: boolean };

/** Nice: the last of all. */
const LAST = 19;

const tell = (message: FromDashboard) => parentPort?.postMessage(message);

async function serve({ uri, anyHost, model: first }: DashboardThreadData): Promise<void> {
  setPriority(LAST); // of this thread alone
  let model = first;
  const onWatched = (isWatched: boolean) => tell({ kind: 'watched', isWatched });
  const page = await LivePage.open({ uri, anyHost, model: () => model, onWatched });
  parentPort?.on('message', (message: ToDashboard) => {
    if (message.kind === 'tell') {
      model = message.updates.reduce(withUpdate, model);
      page.tell(message.updates);
    } else {
      void page.close().then(() => parentPort?.close());
    }
  });
  tell({ kind: 'listening', url: page.url });
}

serve(workerData as DashboardThreadData).catch((error) => {
  tell({ kind: 'failed', error: toPlainError(error) });
  parentPort?.close();
});
