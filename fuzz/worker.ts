/** A process that runs one share of a fuzz, which it is told on its command line, and reports to its parent. */
import { writeFileSync } from 'node:fs';
import { campaign, type Figures, Notebook } from './campaign.ts';
import { writeFinding } from './findings.ts';
import { createTarget, type TargetName } from './targets.ts';

export interface WorkerShare {
  readonly target: TargetName;
  readonly seed: number;
  readonly executions: number;
  readonly notebook: string;
}

export interface Memory {
  readonly rss: number;
  readonly heap: number;
}

export type WorkerMessage =
  | { readonly kind: 'begun'; readonly memory: Memory }
  | { readonly kind: 'progress'; readonly figures: Figures; readonly memory: Memory }
  | { readonly kind: 'done'; readonly figures: Figures; readonly memory: Memory; readonly finding?: string };

/** After what is not needed any more has gone. */
function memory(collect: boolean): Memory {
  if (collect) globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  return { rss, heap: heapUsed };
}

const say = (message: WorkerMessage): void => {
  process.send?.(message);
};

const share = JSON.parse(process.argv[2]) as WorkerShare;
const target = createTarget(share.target);
writeFileSync(share.notebook, '');
const notebook = new Notebook(share.notebook, target);
say({ kind: 'begun', memory: memory(true) });
const { figures, finding } = await campaign({
  ...share,
  target,
  notebook,
  onProgress: (progress) => say({ kind: 'progress', figures: progress, memory: memory(false) }),
});
say({
  kind: 'done',
  figures,
  memory: memory(true),
  ...(finding === undefined ? {} : { finding: writeFinding(finding) }),
});
notebook.close();
target.close();
process.disconnect?.();
