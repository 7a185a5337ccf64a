/**
 * The last word of a destination that fails: SHUT with an error, then whatever the source still sends is
 * read and dropped until it closes. A socket closed with unread bytes takes back what was sent on it, and
 * the source would never learn why. The owner ends the wait of a source that does not close.
 */
import type { Channel } from '../channel/channel.js';
import { encodeShut } from '../wire/encode.js';

/** Any value but success; QEMU sends 1. */
export const SHUT_FAILURE = 1;

/**
 * Only for the thread that reads the stream. Never throws: a source that is gone needs no last word, and who
 * calls has an error already. `said` is called once the word is out.
 */
export function sayFailed(channel: Channel, said: () => void = () => {}): void {
  try {
    channel.send(encodeShut(SHUT_FAILURE));
    said();
    const dropped = new Uint8Array(64 * 1024);
    while (channel.receive(dropped, 0, dropped.length) > 0);
  } catch {
    // Gone, or kicked.
  }
}
