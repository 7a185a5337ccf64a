/** One postcopy whose destination has every page touched, whoever is at either end, and what came of it. */
import type { FaultInfo } from '#lib/destination/incoming-info.js';
import type { DestinationEnd, SourceEnd } from './ends.ts';
import type { MemoryImage } from './memory-image.ts';
import { SyscallCounter } from './syscall-counter.ts';
import { type Touched, Toucher, type TouchOptions } from './toucher.ts';

const PAGE = 4096;

export interface TouchOutcome {
  readonly pages: number;
  readonly touched: Touched;
  readonly requests: number;
  /** Of a destination of ours. */
  readonly faults?: FaultInfo;
  /** System calls that each process made meanwhile, where they were counted. */
  readonly calls?: { readonly source: number; readonly destination: number };
}

/** Throws unless the RAM there is that of the image. With `countsCalls` times say nothing. */
export async function touchAll(
  image: MemoryImage,
  touch: TouchOptions,
  opening: () => SourceEnd | Promise<SourceEnd>,
  accepting: Promise<DestinationEnd>,
  countsCalls: boolean,
): Promise<TouchOutcome> {
  await using destination = await accepting;
  await using source = await opening();
  await using toucher = await Toucher.start(destination.pid, image.bytes, touch);
  await using counter = countsCalls ? await SyscallCounter.start(source.pid, destination.pid) : undefined;
  const receive = async () => {
    const address = await destination.handedOver();
    const before = await counter?.counts();
    const touched = await toucher.touchAll(address);
    const after = await counter?.counts();
    return { touched, before, after, ...(await destination.completed()) };
  };
  const [{ requests }, { before, after, ...received }] = await Promise.all([source.send(destination.uri), receive()]);
  await destination.requireSameRam();
  const outcome = { pages: image.bytes / PAGE, requests, ...received };
  if (before === undefined || after === undefined) return outcome;
  return { ...outcome, calls: { source: after[0] - before[0], destination: after[1] - before[1] } };
}
