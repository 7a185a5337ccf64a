/** A way to a destination on which each byte takes its time, so that a vCPU which faults waits for long. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface SlowLink {
  /** Where the source connects to. */
  readonly uri: string;
  /** Resolved when it is gone. */
  close(): Promise<void>;
}

/** `delayMs` is for each way. */
export async function openSlowLink(uri: string, delayMs: number): Promise<SlowLink> {
  const worker = new Worker(new URL('./slow-link-thread.js', import.meta.url), { workerData: { uri, delayMs } });
  const gone = once(worker, 'exit');
  const [own] = (await once(worker, 'message')) as [string];
  return {
    uri: own,
    close: async () => {
      worker.postMessage('close');
      await gone;
    },
  };
}
