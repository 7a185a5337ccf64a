// Commands out of the bytes of a client: arrays as clients send them, or lines as people type them.
import RedisParser from 'redis-parser';

const ASTERISK = 0x2a;
const MAX_COMMAND_BYTES = 2 * 2 ** 20;

// What an array takes on the wire. The parser does not say how far it has come, and what it has not used goes along.
function sizeOf(words) {
  const sizes = words.map(({ length }) => `$${length}\r\n`.length + length + 2);
  return sizes.reduce((sum, size) => sum + size, `*${words.length}\r\n`.length);
}

export class CommandReader {
  #commands = [];
  #done = 0; // bytes of `rest` that were commands

  // Bytes that are no whole command yet.
  rest = Buffer.alloc(0);

  // The commands that are whole with these bytes, each an array of strings of bytes (latin1). Throws for other bytes.
  read(chunk) {
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    this.#commands = [];
    this.#readLines();
    if (this.rest[0] === ASTERISK) {
      this.#done = 0;
      this.#parser().execute(this.rest);
      this.rest = this.rest.subarray(this.#done);
    }
    if (this.rest.length > MAX_COMMAND_BYTES) throw new Error(`a command of more than ${MAX_COMMAND_BYTES} bytes`);
    return this.#commands;
  }

  // A new one each time: redis-parser 3.0.0 fails at some cuts of a string's end when it is fed piece by piece.
  #parser() {
    return new RedisParser({
      returnBuffers: true,
      returnReply: (words) => {
        if (!Array.isArray(words) || !words.every(Buffer.isBuffer)) throw new Error('expected an array of strings');
        this.#done += sizeOf(words);
        if (words.length > 0) this.#commands.push(words.map((word) => word.latin1Slice()));
      },
      returnError: () => {
        throw new Error('expected a command');
      },
      returnFatalError: (error) => {
        throw error;
      },
    });
  }

  #readLines() {
    while (this.rest.length > 0 && this.rest[0] !== ASTERISK) {
      const end = this.rest.indexOf('\n');
      if (end < 0) return;
      const words = this.rest.latin1Slice(0, end).trim().split(/\s+/);
      this.rest = this.rest.subarray(end + 1);
      if (words[0] !== '') this.#commands.push(words);
    }
  }
}
