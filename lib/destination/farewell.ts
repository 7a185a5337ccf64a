/**
 * The last word of a destination: the SHUT message. Of one that fails it says so, then whatever the source still
 * sends is read and dropped until it closes. A socket closed with unread bytes takes back what was sent on it, and
 * the source would never learn why. The owner ends the wait of a source that does not close.
 */
import type { Channel } from '../channel/channel.js';
import { MigrationError } from '../errors.js';
import { Kicked } from '../threads/kicked.js';
import { encodeShut } from '../wire/encode.js';
import { SHUT_SUCCESS } from '../wire/protocol.js';

/** Any value but success; QEMU sends 1. */
export const SHUT_FAILURE = 1;

/**
 * Of one that is done: SHUT with success. The guest is whole here, and runs if it is to; that the source has gone,
 * or that this thread is asked to end, changes nothing about that any more.
 */
export function sayCompleted(channel: Channel): void {
  try {
    channel.send(encodeShut(SHUT_SUCCESS));
  } catch (error) {
    const isGone = error instanceof MigrationError && error.code === 'PEER_GONE';
    if (!isGone && !(error instanceof Kicked)) throw error;
  }
}

/**
 * Only for the thread that reads the stream. Never throws: a source that is gone needs no last word, and who
 * calls has an error already. `isFirst`: no other thread has said it. `said` is called once the word is out.
 */
export function sayFailed(channel: Channel, isFirst: boolean, said: () => void = () => {}): void {
  try {
    if (isFirst) channel.send(encodeShut(SHUT_FAILURE));
    said();
    const dropped = new Uint8Array(64 * 1024);
    while (channel.receive(dropped, 0, dropped.length) > 0);
  } catch {
    // Gone, or kicked.
  }
}
