/** The demo's two processes driven by a test, so that either can be killed at a known point. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { DemoSettings, FromSide, ToSide } from '#lib/cli/demo-messages.js';

export type Message<Kind extends FromSide['kind']> = Extract<FromSide, { kind: Kind }>;

export class DemoSide {
  readonly child: ChildProcess;
  readonly messages: FromSide[] = [];
  /** The exit code, or the signal's name. */
  readonly exit: Promise<number | string>;

  /** `within`: what the command begins with, such as what has it run in another network. */
  constructor(side: 'source' | 'destination', settings: DemoSettings, within: readonly string[] = []) {
    const file = fileURLToPath(new URL(`../dist/cli/demo-${side}.js`, import.meta.url));
    const [command, ...args] = [...within, process.execPath, file, JSON.stringify(settings)];
    this.child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    this.child.on('message', (message: FromSide) => this.messages.push(message));
    this.exit = new Promise((resolve) => this.child.on('exit', (code, signal) => resolve(code ?? (signal as string))));
  }

  /** The first message of that kind for which `holds`, past or to come; rejects if the process ends without it. */
  async heard<Kind extends FromSide['kind']>(
    kind: Kind,
    holds: (message: Message<Kind>) => boolean = () => true,
  ): Promise<Message<Kind>> {
    const matches = (message: FromSide): message is Message<Kind> =>
      message.kind === kind && holds(message as Message<Kind>);
    return new Promise((resolve, reject) => {
      const found = this.messages.find(matches);
      if (found !== undefined) return resolve(found);
      this.child.on('message', (message: FromSide) => {
        if (matches(message)) resolve(message);
      });
      this.child.on('exit', () =>
        reject(new Error(`the process ended without saying ${kind}; it said ${JSON.stringify(this.messages.at(-1))}`)),
      );
    });
  }

  say(message: ToSide): void {
    this.child.send(message);
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
}
