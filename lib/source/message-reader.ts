/** Reads the messages of a destination one after the other, in the thread that acts on them. */
import type { Channel } from '../channel/channel.js';
import { asMigrationError, MigrationError } from '../errors.js';
import type { ReturnPathMessageRecord } from '../wire/messages.js';
import type { ReturnPathDecoder } from '../wire/return-path.js';

/** Acts on a message; true where it is the last. */
export type HandleMessage = (message: ReturnPathMessageRecord) => boolean;

/** The destination has said all it will. */
const ENDED = -1;

/** Acts on the whole messages in bytes[start, end); where the rest begins, or -1 behind the last one. */
export function handleMessages(
  decoder: ReturnPathDecoder,
  handle: HandleMessage,
  bytes: Uint8Array,
  view: DataView,
  start: number,
  end: number,
): number {
  let at = start;
  while (at < end) {
    const from = at;
    const message = asMigrationError(() => decoder.next(bytes, view, from, end));
    if (message === undefined) return at;
    at += decoder.consumed;
    if (handle(message)) return ENDED;
  }
  return at;
}

/**
 * Until `handle` says that it was the last message, or the peer closes: true in the first case. `idle` is called before
 * each wait. Throws what `handle` does, STREAM_CORRUPT, and PEER_GONE where the peer closes within a message.
 */
export function readMessages(
  channel: Channel,
  decoder: ReturnPathDecoder,
  bufferBytes: number,
  handle: HandleMessage,
  idle: () => void,
): boolean {
  const bytes = new Uint8Array(bufferBytes);
  const view = new DataView(bytes.buffer);
  let end = 0;
  for (;;) {
    const start = handleMessages(decoder, handle, bytes, view, 0, end);
    if (start === ENDED) return true;
    if (start > 0) bytes.copyWithin(0, start, end);
    end -= start;
    idle();
    channel.awaitBytes(); // mostly there are none, and a look in vain costs a system call
    const received = channel.receive(bytes, end, bytes.length - end);
    if (received === 0 && end === 0) return false;
    if (received === 0) throw closedWithin(channel.peer, decoder.offset);
    end += received;
  }
}

function closedWithin(peer: string, offset: number): MigrationError {
  return new MigrationError('PEER_GONE', `${peer} closed at offset ${offset}, within a message`, { offset });
}
