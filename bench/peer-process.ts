/** The handle on a process of ours at one end (peer.ts). Ended at the end of its scope, or with this process. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Transport } from '../testing/qemu/migrate.ts';
import type {
  GuestSettings,
  ListenSettings,
  PeerCommand,
  PeerReplies,
  PeerReply,
  Received,
  SendSettings,
  Sent,
} from './peer-messages.ts';
import type { ResidentMemory } from './resident-memory.ts';

export class PeerProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #folder = mkdtempSync(join(tmpdir(), 'postcopy-bench-'));

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static start(): PeerProcess {
    const entry = fileURLToPath(new URL('./peer.js', import.meta.url));
    return new PeerProcess(fork(entry, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The URI to send to. */
  async listen(transport: Transport, settings: ListenSettings): Promise<string> {
    const uri = transport === 'unix' ? `unix:${join(this.#folder, 'migration.socket')}` : 'tcp:127.0.0.1:0';
    return (await this.#ask({ do: 'listen', uri, settings })).uri;
  }

  /** Resolves once the guest is here and its pages may be touched: where the block is mapped in this process. */
  async handedOver(idstr: string): Promise<number> {
    return (await this.#ask({ do: 'await-handed-over', idstr })).address;
  }

  received(): Promise<Received> {
    return this.#ask({ do: 'await-received' });
  }

  /** The next send begins at once. */
  async prepare(): Promise<void> {
    await this.#ask({ do: 'prepare' });
  }

  send(uri: string, settings: SendSettings): Promise<Sent> {
    return this.#ask({ do: 'send', uri, settings });
  }

  /** Of ours; it is sent from then on. */
  async makeGuest(guest: GuestSettings): Promise<void> {
    await this.#ask({ do: 'make-guest', guest });
  }

  /** Stops the guest of ours that has come, and throws unless it is as it was, with what it wrote. */
  async verify(): Promise<void> {
    const { badPages } = await this.#ask({ do: 'verify' });
    if (badPages > 0) throw new Error(`the guest that we have received has ${badPages} wrong pages`);
  }

  /** What the process has besides a guest of ours. */
  memory(): Promise<ResidentMemory> {
    return this.#ask({ do: 'memory' });
  }

  /** SHA-256 of a block that was received. */
  async hash(idstr: string): Promise<string> {
    return (await this.#ask({ do: 'hash', idstr })).sha256;
  }

  /** Where others can open a block that is a memfd, for as long as the process lives. */
  async file(idstr: string): Promise<string> {
    return (await this.#ask({ do: 'file', idstr })).path;
  }

  /** Resolved once the destination has closed the connection. */
  async sendUntilLost(uri: string, preempt: boolean): Promise<void> {
    await this.#ask({ do: 'send-until-lost', uri, preempt });
  }

  /** Throws unless the block that was received is what is in the file. */
  async requireSameRam(idstr: string, path: string): Promise<void> {
    const { difference } = await this.#ask({ do: 'compare', idstr, path });
    if (difference >= 0) throw new Error(`the RAM that we have received is not the source's at ${difference}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = this.#child.exitCode === null ? once(this.#child, 'exit') : undefined;
    this.#child.kill('SIGKILL');
    await exited;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** One at a time. */
  async #ask<Command extends PeerCommand>(command: Command): Promise<PeerReplies[Command['do']]> {
    const exited = new AbortController();
    try {
      this.#child.send(command);
      const reply = once(this.#child, 'message', { signal: exited.signal }) as Promise<[PeerReply]>;
      const exit = once(this.#child, 'exit', { signal: exited.signal });
      exit.catch(() => {});
      const heard = await Promise.race([reply, exit.then(([status]) => [{ error: `it ended (${status})` }] as const)]);
      if ('error' in heard[0]) throw new Error(`our process, at ${command.do}: ${heard[0].error}`);
      return heard[0].reply as PeerReplies[Command['do']];
    } finally {
      exited.abort();
    }
  }
}
