/** The thread that serves the live page: it keeps what it is told, and does all that clients can ask for. */
import { workerData } from 'node:worker_threads';
import { serveInThread } from '../http/serve-in-thread.js';
import { LivePage } from './live-page.js';
import type { Model, Run } from './model.js';
import { withUpdate } from './view/shown.js';

export interface DashboardThreadData {
  readonly uri: string;
  readonly anyHost: boolean;
  readonly model: Model;
}

/** From the owner: what is new. */
export type ToDashboard = readonly Run[];

/** To the owner: each time that somebody is the first who looks, or the last who has looked goes. */
export interface FromDashboard {
  readonly isWatched: boolean;
}

serveInThread<ToDashboard, FromDashboard>(async (tell) => {
  let { uri, anyHost, model } = workerData as DashboardThreadData;
  const onWatched = (isWatched: boolean) => tell({ isWatched });
  const page = await LivePage.open({ uri, anyHost, model: () => model, onWatched });
  return {
    uri: page.uri,
    url: page.url,
    onMessage: (updates) => {
      model = updates.reduce(withUpdate, model);
      page.tell(updates);
    },
    close: () => page.close(),
  };
});
