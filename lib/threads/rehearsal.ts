/**
 * What the rehearsals of parked threads have in common: rounds over a connection to nobody, which end when there is
 * work, and what a thread's body has around it then.
 */
import { type EventfdHandle, native, type SocketHandle } from '../native.js';
import { Trace, untraced } from '../trace/trace.js';
import type { CallHandlers } from './call.js';
import type { Owner, ThreadContext } from './thread.js';

/** Both ends of a connection. */
export type Pair = readonly [here: SocketHandle, there: SocketHandle];

/** What `use` returns; the connection is closed then. */
export function withPair<Result>(use: (pair: Pair) => Result): Result {
  const { socketClose, socketPair } = native();
  const pair = socketPair();
  try {
    return use(pair);
  } finally {
    for (const socket of pair) socketClose(socket);
  }
}

/** What `use` returns; the kick is closed then. */
export function withKick<Result>(use: (kick: EventfdHandle) => Result): Result {
  const { eventfdClose, eventfdCreate } = native();
  const kick = eventfdCreate();
  try {
    return use(kick);
  } finally {
    eventfdClose(kick);
  }
}

/** So many rounds, or fewer where `hasWork`, each over a connection of its own. Throws what `goThrough` does. */
export function inRounds(
  rounds: number,
  hasWork: () => boolean,
  goThrough: (pair: Pair, kick: EventfdHandle) => void,
): void {
  withKick((kick) => {
    for (let round = 0; round < rounds && !hasWork(); round += 1) withPair((pair) => goThrough(pair, kick));
  });
}

/** Of a thread that tells nobody anything; nor does it call anybody, unless `owner` answers. */
export function rehearsedContext<Event, Handlers extends CallHandlers>(
  kick: EventfdHandle,
  owner: Owner<Handlers> = nobody,
): ThreadContext<Event, Handlers> {
  return { kick, owner, trace: new Trace(untraced()), emit: () => {}, raise: () => {} };
}

const nobody = {
  call: () => {
    throw new Error('this thread calls nobody');
  },
};
