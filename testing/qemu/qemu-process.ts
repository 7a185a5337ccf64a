/**
 * A real QEMU as a child process: its monitor, its first serial port as a console, a folder for its sockets.
 *
 *   await using qemu = await QemuProcess.start('source', ['-M', 'microvm']);
 *
 * The monitor goes over a descriptor that the child inherits, so nothing has to be connected or waited for.
 * It is ended through its own process object, at the end of the scope or with this process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { GuestConsole } from './guest-console.ts';
import { QmpClient } from './qmp.ts';

export const QEMU = 'qemu-system-x86_64';

/** The descriptor of the monitor in the child, beside its standard ones. */
const MONITOR_FD = 3;

/** Without these QEMU would open windows, add devices that nobody asked for, or keep the child alive on reboot. */
const alwaysArguments = [
  ...['-accel', 'tcg', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
  ...['-chardev', `socket,id=monitor,fd=${MONITOR_FD}`, '-mon', 'chardev=monitor,mode=control'],
];

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class QemuProcess {
  readonly name: string;
  /** For sockets and files of this QEMU; removed with it. */
  readonly folder: string;
  /** What it writes to standard output: the guest's console with `-serial stdio`. */
  readonly console: GuestConsole;
  /** How it ended, once all its output has been read: its exit status, or the signal's name. */
  readonly ended: Promise<number | string>;
  readonly #child: ChildProcess;
  #stderr = '';
  #qmp: QmpClient | undefined;

  private constructor(name: string, args: readonly string[]) {
    this.name = name;
    this.folder = mkdtempSync(join(tmpdir(), 'postcopy-qemu-'));
    const child = spawn(QEMU, [...alwaysArguments, ...args], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
    running.add(child);
    this.#child = child;
    this.console = new GuestConsole(name, () => this.#lastWords());
    child.stdout?.setEncoding('utf8').on('data', (text: string) => this.console.take(text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.ended = new Promise((resolve) => {
      const end = (how: number | string): void => {
        running.delete(child);
        rmSync(this.folder, { recursive: true, force: true });
        this.console.end(`QEMU ended (${how})`);
        resolve(how);
      };
      child.on('error', (error) => end(`${error.message}; the package "qemu-system-x86" has it`));
      child.on('close', (status, signal) => end(status ?? (signal as string)));
    });
  }

  /** Starts QEMU and opens its monitor. `name` is how failures call it. */
  static async start(name: string, args: readonly string[]): Promise<QemuProcess> {
    const qemu = new QemuProcess(name, args);
    try {
      const monitor = qemu.#child.stdio[MONITOR_FD] as Duplex;
      const opened = QmpClient.open(monitor, name, () => qemu.#lastWords());
      const ended = qemu.ended.then(() => undefined);
      qemu.#qmp = await Promise.race([opened, ended]);
      if (qemu.#qmp === undefined) throw new Error('it ended');
      return qemu;
    } catch (cause) {
      await qemu.stop();
      throw new Error(`${name} did not start (${await qemu.ended})${qemu.#lastWords()}`, { cause });
    }
  }

  get qmp(): QmpClient {
    if (this.#qmp === undefined) throw new Error(`${this.name}: the monitor is not open yet`);
    return this.#qmp;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** All of its error output so far. */
  get stderr(): string {
    return this.#stderr;
  }

  /** A command of the human monitor, for what QMP does not have; its output. */
  async human(line: string): Promise<string> {
    return this.qmp.execute<string>('human-monitor-command', { 'command-line': line });
  }

  /** Ends it, whatever it does, and waits until all its output has been read. */
  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #lastWords(): string {
    return this.#stderr === '' ? '' : `\nits error output:\n${this.#stderr}`;
  }
}
