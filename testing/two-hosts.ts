/**
 * Two hosts with a cable between them, as far as their processes can tell: network namespaces that a veth pair joins.
 * Needs root and iproute2.
 */
import { execFileSync } from 'node:child_process';

/** A host by its network namespace, and its address on the cable. */
export interface Host {
  readonly namespace: string;
  readonly address: string;
  /** What a command begins with to run there; it runs as the very process that is started. */
  readonly within: readonly string[];
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Why there can be no two hosts here, as a sentence; undefined where there can. */
export function whyNoHosts(): string | undefined {
  const probe = `postcopy-${process.pid}-probe`;
  try {
    ip('netns', 'add', probe);
    ip('netns', 'delete', probe);
    return undefined;
  } catch (error) {
    return `two hosts take network namespaces, which root can make with iproute2: ${(error as Error).message.trim()}`;
  }
}

export class TwoHosts {
  readonly source: Host = TwoHosts.#host('source', 1);
  readonly destination: Host = TwoHosts.#host('destination', 2);

  /** The cable is in, and its link up. Throws where there can be no hosts. */
  constructor() {
    const [near, far] = [this.source, this.destination];
    try {
      for (const { namespace } of [near, far]) ip('netns', 'add', namespace);
      ip('-n', near.namespace, 'link', 'add', 'cable', 'type', 'veth', 'peer', 'name', 'cable', 'netns', far.namespace);
      for (const { namespace, address } of [near, far]) {
        ip('-n', namespace, 'address', 'add', `${address}/24`, 'dev', 'cable');
        ip('-n', namespace, 'link', 'set', 'lo', 'up');
        ip('-n', namespace, 'link', 'set', 'cable', 'up');
      }
    } catch (error) {
      this.delete();
      throw error;
    }
  }

  static #host(side: string, number: number): Host {
    const namespace = `postcopy-${process.pid}-${side}`;
    return { namespace, address: `192.0.2.${number}`, within: ['ip', 'netns', 'exec', namespace] };
  }

  /** Nothing passes any more, and neither side is told. */
  pullCable(): void {
    ip('-n', this.source.namespace, 'link', 'set', 'cable', 'down');
  }

  plugCable(): void {
    ip('-n', this.source.namespace, 'link', 'set', 'cable', 'up');
  }

  /** Gone once the last process there has ended. */
  delete(): void {
    for (const { namespace } of [this.source, this.destination]) {
      try {
        ip('netns', 'delete', namespace);
      } catch {
        // It was not made.
      }
    }
  }
}
