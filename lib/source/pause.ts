/** One pause of a migration in postcopy: why, and how it ends. Owner only. */
import type { ChannelDescriptor } from '../channel/channel.js';
import type { MigrationError } from '../errors.js';

interface Settleable<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: Error) => void;
}

function settleable<T>(): Settleable<T> {
  let settle: Omit<Settleable<T>, 'promise'> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  promise.catch(() => {}); // whoever cares awaits it; nobody must
  return { promise, ...(settle as unknown as Omit<Settleable<T>, 'promise'>) };
}

export class Pause {
  readonly reason: MigrationError;
  readonly #channel = settleable<ChannelDescriptor>();
  readonly #recovered = settleable<void>();

  constructor(reason: MigrationError) {
    this.reason = reason;
  }

  /** What the migration thread goes on with. Rejects where the pause ends otherwise. */
  get channel(): Promise<ChannelDescriptor> {
    return this.#channel.promise;
  }

  /** Lets the migration thread try it with another connection; resolved once the migration goes on. */
  goOn(channel: ChannelDescriptor): Promise<void> {
    this.#channel.resolve(channel);
    return this.#recovered.promise;
  }

  recovered(): void {
    this.#recovered.resolve();
  }

  /** The other connection did not do either, or nobody tries any more. */
  end(reason: Error): void {
    this.#channel.reject(reason);
    this.#recovered.reject(reason);
  }
}
