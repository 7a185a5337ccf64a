/** What the demo's parent sees of a side: it asks for a look, and keeps the last one that the side gives of its own. */
import type { ChildProcess } from 'node:child_process';
import type { Look } from '../dashboard/observer.js';
import type { SideSnapshot } from '../dashboard/snapshot.js';
import type { FromSide, ToSide } from './demo-messages.js';

/** Looks at the side that runs in `child`, also when that has ended. */
export function lookAt(child: Pick<ChildProcess, 'on' | 'send' | 'connected'>): Look {
  let answer: ((snapshot: SideSnapshot | undefined) => void) | undefined;
  let last: SideSnapshot | undefined;
  const settle = (snapshot: SideSnapshot | undefined) => {
    answer?.(snapshot);
    answer = undefined;
  };
  child.on('message', (message: FromSide) => {
    if (message.kind !== 'look') return;
    const snapshot = message.snapshot ?? undefined;
    if (answer === undefined) last = snapshot;
    else settle(snapshot);
  });
  child.on('exit', () => settle(undefined));
  return ({ map }) => {
    if (last !== undefined) {
      const snapshot = last;
      last = undefined;
      return snapshot;
    }
    if (!child.connected) return undefined;
    return new Promise((resolve) => {
      answer = resolve;
      const message: ToSide = { kind: 'look', map };
      child.send(message, (error) => {
        if (error !== null) settle(undefined);
      });
    });
  };
}
