/**
 * Where the fault thread and the listen thread park from the start of a migration until they are
 * needed: making a thread takes tens of milliseconds, which would be downtime.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { type DestinationSignals, Handed } from './destination-signals.js';

/** Main thread: hands its work to a parked thread, before it sets the word the thread waits for. */
export function handWork<Work>(port: MessagePort, work: Work): void {
  port.postMessage(work);
}

/** Parked thread: blocks until the word is set; its work, or undefined where it never comes to that. */
export function awaitWork<Work>(
  signals: DestinationSignals,
  word: 'PREPARED' | 'LISTEN',
  port: MessagePort,
): Work | undefined {
  signals.waitWhile(word, Handed.NOT_YET);
  const received = signals.get(word) === Handed.YES ? receiveMessageOnPort(port) : undefined;
  port.close();
  return received?.message as Work | undefined;
}
