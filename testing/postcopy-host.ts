/** `postcopy host` as a child process, driven over its QMP socket. Ended with its scope. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { inCheckout } from './checkout.ts';
import { Heard } from './qemu/heard.ts';
import { QmpClient } from './qemu/qmp.ts';

export class PostcopyHost {
  readonly qmp: QmpClient;
  /** The lines that it writes to standard error. */
  readonly said: Heard<string>;
  /** Its exit code, or the signal's name. */
  readonly ended: Promise<number | string>;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, said: Heard<string>, ended: Promise<number | string>, qmp: QmpClient) {
    this.#child = child;
    this.said = said;
    this.ended = ended;
    this.qmp = qmp;
  }

  /** With its QMP at a unix socket of that path, and these arguments besides. */
  static async start(path: string, ...args: string[]): Promise<PostcopyHost> {
    const command = [inCheckout('dist/cli/main.js'), 'host', '--qmp', `unix:${path}`, ...args];
    const child = spawn(process.execPath, command, { stdio: ['ignore', 'ignore', 'pipe'], env: { NO_COLOR: '1' } });
    const said = new Heard<string>({ who: 'postcopy host', show: (line) => line });
    const ended = new Promise<number | string>((resolve) => {
      child.on('close', (code, signal) => {
        said.end(`it ended (${signal ?? code})`);
        resolve(signal ?? (code as number));
      });
    });
    createInterface({ input: child.stderr }).on('line', (line) => said.add(line));
    try {
      await said.first('where it listens', (line) => line === `QMP at unix:${path}`);
      return new PostcopyHost(child, said, ended, await PostcopyHost.client(path));
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  /** One more client of whoever listens there. */
  static async client(path: string): Promise<QmpClient> {
    const socket = connect(path);
    await once(socket, 'connect');
    return QmpClient.open(socket, path);
  }

  /** As Ctrl-C does. */
  interrupt(): void {
    this.#child.kill('SIGINT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }
}
