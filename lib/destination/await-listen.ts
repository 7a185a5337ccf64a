/**
 * Where the fault thread and the listen thread park from the start of a migration until LISTEN: making
 * a thread takes tens of milliseconds, which would be downtime.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { type DestinationSignals, Listening } from './destination-signals.js';

/** Main thread: hands its work to a parked thread; it goes when LISTEN is set. */
export function handWork<Work>(port: MessagePort, work: Work): void {
  port.postMessage(work);
}

/** Parked thread: blocks until LISTEN; its work, or undefined where it never comes to that. */
export function awaitListen<Work>(signals: DestinationSignals, port: MessagePort): Work | undefined {
  signals.waitWhile('LISTEN', Listening.NOT_YET);
  const received = signals.get('LISTEN') === Listening.YES ? receiveMessageOnPort(port) : undefined;
  port.close();
  return received?.message as Work | undefined;
}
