/** A real QEMU without a guest, driven over QMP: what it does is what ours is held against. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { until } from './native-thread.ts';

const BINARY = 'qemu-system-x86_64';

type Reply = Readonly<Record<string, unknown>>;

export class Qemu {
  readonly #socket: Socket;
  readonly #replies: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  private constructor(socket: Socket, lines: Interface, ended: Promise<unknown>) {
    this.#socket = socket;
    this.#replies = lines[Symbol.asyncIterator]();
    this.#ended = ended;
  }

  /** Starts one of 16 MiB; its files go to `folder`. Throws, saying how to install it, where there is none. */
  static async start(folder: string): Promise<Qemu> {
    const path = join(folder, 'qmp.sock');
    const child = spawn(
      BINARY,
      ['-M', 'none', '-m', '16', '-nodefaults', '-display', 'none', '-qmp', `unix:${path},server=on,wait=off`],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const failed = new Promise<never>((_, reject) => {
      child.once('error', (cause) =>
        reject(
          new Error(`${BINARY} does not start: install the package qemu-system-x86, as "npm test" does`, { cause }),
        ),
      );
    });
    failed.catch(() => {});
    const ended = once(child, 'exit');
    ended.catch(() => {});
    await Promise.race([failed, until('QEMU listens for QMP', () => existsSync(path))]);
    const socket = createConnection(path);
    const qemu = new Qemu(socket, createInterface({ input: socket }), ended);
    await qemu.#replies.next(); // its greeting
    await qemu.ask('qmp_capabilities');
    return qemu;
  }

  /** Runs a command. Throws the description of its error. */
  async ask(execute: string, argumentsOf: Readonly<Record<string, unknown>> = {}): Promise<Reply> {
    this.#socket.write(`${JSON.stringify({ execute, arguments: argumentsOf })}\n`);
    for (;;) {
      const { value, done } = await this.#replies.next();
      if (done) throw new Error(`QEMU has closed its QMP socket at ${execute}`);
      const message = JSON.parse(value) as { return?: Reply; error?: { desc: string } };
      if (message.error !== undefined) throw new Error(`${execute}: ${message.error.desc}`);
      if (message.return !== undefined) return message.return; // all else is an event
    }
  }

  /** query-migrate, once it shows that status. */
  async queryMigrate(status: string): Promise<Reply> {
    for (;;) {
      const reply = await this.ask('query-migrate');
      if (reply.status === status) return reply;
      if (reply.status === 'failed') throw new Error(`QEMU's migration failed: ${reply['error-desc']}`);
    }
  }

  async quit(): Promise<void> {
    await this.ask('quit');
    await this.#ended;
    this.#socket.destroy();
  }
}
