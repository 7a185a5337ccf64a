/**
 * The broken network of `postcopy demo --cut-every`: a relay between the two sides that cuts each connection of the
 * postcopy when it has gone on for so long.
 */
import { parseUri } from '../channel/uri.js';
import { createRelay, type Relay } from '../relay/relay.js';
import type { MigrationStatus } from '../source/migration-state.js';

/** Milliseconds that a connection waits for the destination: it may have ended, its last word cut off. */
const CONNECT_TIMEOUT_MS = 1000;

export class DemoCutter {
  readonly #everyMs: number;
  #relay: Relay | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param everyMs from when the sides are connected in postcopy, at first and after each recovery */
  constructor(everyMs: number) {
    this.#everyMs = everyMs;
  }

  /** Stands before the destination that listens at `uri`; resolved with where the source is to connect to. */
  async openTo(uri: string): Promise<string> {
    const address = parseUri(uri);
    const own = address.family === 'unix' ? `unix:${address.path}.relay` : 'tcp:127.0.0.1:0';
    this.#relay = await createRelay(own, uri, { connectTimeoutMs: CONNECT_TIMEOUT_MS });
    return this.#relay.uri;
  }

  /** Counts from here where that is postcopy; before it a cut would end the migration. */
  sourceIs(status: MigrationStatus): void {
    clearTimeout(this.#timer);
    if (status === 'postcopy-active') this.#timer = setTimeout(() => this.#relay?.cut(), this.#everyMs);
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#relay?.close();
  }
}
