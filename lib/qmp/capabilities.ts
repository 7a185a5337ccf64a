/** QMP's migration capabilities: those of the engine, and `events`, which is this server's. */
import { type Capabilities, defaultCapabilities } from '../options.js';
import { QmpError } from './messages.js';
import { toQmpName } from './names.js';

const engineNames = Object.keys(defaultCapabilities) as (keyof Capabilities)[];

/** In the order of the answer to query-migrate-capabilities. */
export const capabilityNames: readonly string[] = ['events', ...engineNames.map(toQmpName)];

/** QMP's MigrationCapabilityStatus. */
export interface CapabilityStatus {
  readonly capability: string;
  readonly state: boolean;
}

export class CapabilitySet {
  #on: ReadonlySet<string> = new Set();

  has(capability: string): boolean {
    return this.#on.has(capability);
  }

  /** All or none of them. Throws a QmpError for what does not go together. */
  set(changes: readonly CapabilityStatus[]): void {
    const on = new Set(this.#on);
    for (const { capability, state } of changes) {
      if (state) on.add(capability);
      else on.delete(capability);
    }
    if (on.has('postcopy-preempt') && !on.has('postcopy-ram'))
      throw new QmpError('Postcopy preempt requires postcopy-ram');
    this.#on = on;
  }

  list(): CapabilityStatus[] {
    return capabilityNames.map((capability) => ({ state: this.#on.has(capability), capability }));
  }

  /** Those of the engine. */
  forEngine(): Capabilities {
    const entries = engineNames.map((name) => [name, this.#on.has(toQmpName(name))]);
    return Object.fromEntries(entries) as unknown as Capabilities;
  }
}
