/**
 * Calls from a worker to the thread that owns it, answered before they return: how a loop that must
 * not give way asks for what only the owner can do, such as stopping the guest.
 *
 * The worker posts the call and sleeps on a shared word; the owner, whose event loop runs, answers
 * and wakes it. The owner always answers, an error included, so a worker never sleeps for ever.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { fromPlainError, type PlainError, toPlainError } from '../errors.js';

/** The calls an owner answers: name → handler of one argument. */
// biome-ignore lint/suspicious/noExplicitAny: each caller's type names the argument of each call.
export type CallHandlers = Record<string, (argument: any) => unknown>;

export interface CallerDescriptor {
  readonly port: MessagePort;
  /** Counts the answers. */
  readonly answered: SharedArrayBuffer;
}

type Answer = { readonly value: unknown } | { readonly error: PlainError };

/** Owner: answers calls until closed. `descriptor.port` goes to the worker in its transfer list. */
export function serveCalls(handlers: CallHandlers): { descriptor: CallerDescriptor; close(): void } {
  const { port1, port2 } = new MessageChannel();
  const answered = new SharedArrayBuffer(4);
  const word = new Int32Array(answered);
  port1.on('message', async ({ name, argument }: { name: string; argument: unknown }) => {
    let answer: Answer;
    try {
      answer = { value: await handlers[name](argument) };
    } catch (error) {
      answer = { error: toPlainError(error) };
    }
    try {
      port1.postMessage(answer);
    } catch (error) {
      port1.postMessage({ error: toPlainError(error) } satisfies Answer); // a value that can't be cloned
    }
    Atomics.add(word, 0, 1);
    Atomics.notify(word, 0);
  });
  port1.unref();
  return { descriptor: { port: port2, answered }, close: () => port1.close() };
}

/** Worker: the other end of {@link serveCalls}. */
export class Caller<Handlers extends CallHandlers> {
  readonly #port: MessagePort;
  readonly #answered: Int32Array;

  constructor(descriptor: CallerDescriptor) {
    this.#port = descriptor.port;
    this.#answered = new Int32Array(descriptor.answered);
  }

  /** Blocks until the owner has answered; throws what its handler threw. */
  call<Name extends keyof Handlers & string>(
    name: Name,
    argument: Parameters<Handlers[Name]>[0],
  ): Awaited<ReturnType<Handlers[Name]>> {
    const before = Atomics.load(this.#answered, 0);
    this.#port.postMessage({ name, argument });
    Atomics.wait(this.#answered, 0, before);
    const received = receiveMessageOnPort(this.#port) as { message: Answer };
    if ('error' in received.message) throw fromPlainError(received.message.error);
    return received.message.value as Awaited<ReturnType<Handlers[Name]>>;
  }

  close(): void {
    this.#port.close();
  }
}
