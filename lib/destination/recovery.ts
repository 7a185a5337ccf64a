/**
 * Recovery of a migration that has paused, as the destination takes part in it: what pauses one, and the answers on a
 * new connection, where the source asks of each block which of its pages are here, and then resumes. Listen thread
 * only.
 */
import type { Channel } from '../channel/channel.js';
import { type ErrorCode, MigrationError } from '../errors.js';
import type { PageBitmap } from '../memory/bitmap.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { encodePong, encodeRecvBitmapReply, encodeResumeAck } from '../wire/encode.js';
import { receivedBitmapBytes } from '../wire/protocol.js';
import { nameOf } from './capability-check.js';
import type { StreamReader } from './stream-reader.js';

/** The connection is lost, or what came over it is no migration stream: another one may do better. */
const pausing: ReadonlySet<ErrorCode> = new Set([
  'ILLEGAL_COMMAND',
  'PAGES_MISSING',
  'PEER_GONE',
  'STREAM_CORRUPT',
  'UNSUPPORTED',
]);

/** Whether `error` is one of the connection, and not of the guest or of this host. */
export function isOfConnection(error: unknown): error is MigrationError {
  return error instanceof MigrationError && pausing.has(error.code);
}

/** As the answer to RECV_BITMAP carries it: bit i % 8 of byte i / 8 is page i. */
export function receivedBitmap({ pageCount, words }: PageBitmap): Uint8Array {
  const bytes = new Uint8Array(receivedBitmapBytes(pageCount));
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < words.length; at += 1) view.setUint32(at * 4, Atomics.load(words, at), true);
  return bytes;
}

/**
 * Answers the source until it resumes: from then on pages come. Throws PEER_GONE, STREAM_CORRUPT, UNSUPPORTED, or
 * ILLEGAL_COMMAND for what belongs elsewhere.
 */
export function answerRecovery(
  reader: StreamReader,
  channel: Channel,
  blocks: readonly Pick<RAMBlockDescriptor, 'idstr'>[],
  received: readonly PageBitmap[],
): void {
  for (;;) {
    const record = reader.next();
    const command = record.type === 'command' ? record : undefined;
    switch (command?.command) {
      case 'RECV_BITMAP': {
        const { idstr } = command;
        const index = blocks.findIndex((block) => block.idstr === idstr);
        channel.send(encodeRecvBitmapReply(idstr, receivedBitmap(received[index])));
        break;
      }
      case 'PING':
        channel.send(encodePong(command.value));
        break;
      case 'POSTCOPY_RESUME':
        channel.send(encodeResumeAck());
        return;
      default:
        throw illegal(nameOf(record), reader.recordOffset);
    }
  }
}

function illegal(record: string, offset: number): MigrationError {
  return new MigrationError('ILLEGAL_COMMAND', `${record} at offset ${offset}, in a recovery`, { offset, record });
}
