/** A guest that tells when it starts and stops, whoever has it do so: a command, or a migration. */
import type { Guest } from '../memory/guest.js';

export interface GuestWatch {
  /** Asked before it starts: where it says false it does not, and whoever started it does not learn of it. */
  readonly mayStart: () => boolean;
  /** It runs, and did not before; or the other way round. */
  readonly onStart: () => void;
  readonly onStop: () => void;
}

/** The guest itself in all else. */
export function watched<G extends Guest>(guest: G, watch: GuestWatch): G {
  const start = async (): Promise<void> => {
    if (!watch.mayStart()) return;
    const ran = guest.running;
    await guest.start();
    if (!ran) watch.onStart();
  };
  const stop = async (): Promise<void> => {
    const ran = guest.running;
    await guest.stop();
    if (ran) watch.onStop();
  };
  return new Proxy(guest, {
    get(target, name) {
      if (name === 'start') return start;
      if (name === 'stop') return stop;
      // With the guest itself as `this`: its private fields are not the proxy's.
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
