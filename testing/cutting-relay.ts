/**
 * A relay between source and destination that knows the messages of both directions and breaks the connection at
 * one of them. It changes no byte; it holds back only what is not yet a whole message.
 */
import { once } from 'node:events';
import { createConnection, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net';
import { parseUri } from '#lib/channel/uri.js';
import { decoderOptions } from '#lib/destination/stream-reader.js';
import { StreamDecoder } from '#lib/wire/decode.js';
import { ReturnPathDecoder } from '#lib/wire/return-path.js';
import { MessageNames } from './message-names.ts';

export type Direction = 'stream' | 'return path';

/**
 * How the connection breaks. `close`: both ends, as when a process dies. `reset`: the same with TCP's reset, and
 * what is on its way is lost. `half`: only the direction of the message ends, the other goes on. `stall`: nothing
 * moves any more, and nobody is told.
 */
export type CutKind = 'close' | 'reset' | 'half' | 'stall';

export interface Cut {
  readonly direction: Direction;
  /** Its name; see {@link MessageNames}. */
  readonly message: string;
  /** Right before its first byte, or in the middle. */
  readonly place: 'before' | 'within';
  readonly kind: CutKind;
}

/** A message that went by. */
export interface SeenMessage {
  readonly name: string;
  readonly length: number;
}

/** Finds the messages in one direction: bytes in, whole messages out. */
type Splitter = (bytes: Uint8Array, ended: boolean) => { readonly name: string; readonly length: number }[];

function splitStream(): Splitter {
  const names = new MessageNames();
  const decoder = new StreamDecoder(decoderOptions);
  let inner: StreamDecoder | undefined;
  let innerEnd = 0;
  return (bytes, ended) => {
    const found: { name: string; length: number }[] = [];
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (ended) decoder.endOfInput();
    for (let at = 0; ; ) {
      if (inner?.offset === innerEnd) inner = undefined;
      const current = inner ?? decoder;
      // A package's decoder is given no byte behind it.
      const end = inner === undefined ? bytes.length : Math.min(bytes.length, at + innerEnd - inner.offset);
      const record = current.next(bytes, view, at, end);
      if (record === undefined) return found;
      found.push({ name: names.ofStream(record, inner !== undefined), length: current.consumed });
      at += current.consumed;
      if (record.type === 'command' && record.command === 'PACKAGED') {
        inner = decoder.package();
        innerEnd = inner.offset + record.length;
      }
    }
  };
}

function splitReturnPath(): Splitter {
  const names = new MessageNames();
  const decoder = new ReturnPathDecoder();
  return (bytes) => {
    const found: { name: string; length: number }[] = [];
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; ; at += decoder.consumed) {
      const message = decoder.next(bytes, view, at, bytes.length);
      if (message === undefined) return found;
      found.push({ name: names.ofReturnPath(message), length: decoder.consumed });
    }
  };
}

/** One direction of a connection. */
class Flow {
  readonly seen: SeenMessage[] = [];
  readonly #to: Socket;
  readonly #split: Splitter;
  readonly #cut: Cut | undefined;
  readonly #onCut: () => void;
  #held: Buffer = Buffer.alloc(0);
  /** After a cut: what comes in is read and dropped. */
  dropping = false;

  constructor(from: Socket, to: Socket, split: Splitter, cut: Cut | undefined, onCut: () => void) {
    this.#to = to;
    this.#split = split;
    this.#cut = cut;
    this.#onCut = onCut;
    from.on('data', (bytes: Buffer) => this.#pass(Buffer.concat([this.#held, bytes]), false));
    from.on('end', () => {
      this.#pass(this.#held, true);
      if (!this.dropping) this.#to.end(this.#held); // what is left was cut by the sender itself
    });
  }

  #pass(bytes: Buffer, ended: boolean): void {
    if (this.dropping) return;
    let whole = 0;
    for (const message of this.#messages(bytes, ended)) {
      const isCut = message.name === this.#cut?.message;
      if (isCut && (this.#cut?.place === 'before' || message.length > 1)) {
        const within = this.#cut?.place === 'within' ? message.length >> 1 : 0;
        this.#to.write(bytes.subarray(0, whole + within));
        this.dropping = true;
        this.#onCut();
        return;
      }
      this.seen.push(message);
      whole += message.length;
    }
    if (whole > 0) this.#to.write(bytes.subarray(0, whole));
    this.#held = bytes.subarray(whole);
  }

  /** A stream that ends inside a message is passed on as it is: that is the receiver's to find. */
  #messages(bytes: Buffer, ended: boolean): readonly SeenMessage[] {
    try {
      return this.#split(bytes, ended);
    } catch (error) {
      if (ended && (error as { code?: string }).code === 'TRUNCATED') return [];
      throw error;
    }
  }
}

export class CuttingRelay {
  readonly #server: Server;
  readonly #target: NetConnectOpts;
  readonly #cut: Cut | undefined;
  readonly #sockets: Socket[] = [];
  #flows: Readonly<Record<Direction, Flow>> | undefined;
  #isCut = false;
  #announceCut = () => {};
  /** Resolved when {@link isCut} becomes true; never, where it does not. */
  readonly broken = new Promise<void>((resolve) => {
    this.#announceCut = resolve;
  });

  private constructor(target: string, cut: Cut | undefined) {
    const address = parseUri(target);
    this.#target = address.family === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
    this.#cut = cut;
    this.#server = createServer({ allowHalfOpen: true }, (near) => this.#relay(near));
  }

  /** Listens, beside `target` where that is a unix socket; for one connection, which it passes on to `target`. */
  static async start(target: string, cut?: Cut): Promise<CuttingRelay> {
    const relay = new CuttingRelay(target, cut);
    const path = (relay.#target as { path?: string }).path;
    relay.#server.listen(path === undefined ? { host: '127.0.0.1', port: 0 } : { path: `${path}.relay` });
    await once(relay.#server, 'listening');
    return relay;
  }

  /** Where the source is to connect. */
  get uri(): string {
    const address = this.#server.address() as string | { readonly port: number };
    return typeof address === 'string' ? `unix:${address}` : `tcp:127.0.0.1:${address.port}`;
  }

  /** It has come to the message that it was to break at. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /** The messages that went by whole. */
  seen(direction: Direction): readonly SeenMessage[] {
    return this.#flows?.[direction].seen ?? [];
  }

  /** Closes what is still open; resolved when all of it is. */
  async close(): Promise<void> {
    const closed = this.#sockets.filter((socket) => !socket.closed).map((socket) => once(socket, 'close'));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([...closed, new Promise((resolve) => this.#server.close(resolve))]);
  }

  #relay(near: Socket): void {
    const far = createConnection({ ...this.#target, allowHalfOpen: true });
    this.#sockets.push(near, far);
    near.setNoDelay();
    far.setNoDelay();
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ]) {
      socket.on('error', () => {}); // 'close' follows
      socket.on('close', () => {
        if (!(this.#isCut && this.#cut?.kind === 'stall')) other.destroySoon();
      });
    }
    const cutIn = (direction: Direction) => (this.#cut?.direction === direction ? this.#cut : undefined);
    this.#flows = {
      stream: new Flow(near, far, splitStream(), cutIn('stream'), () => this.#break(near, far, far)),
      'return path': new Flow(far, near, splitReturnPath(), cutIn('return path'), () => this.#break(near, far, near)),
    };
  }

  #break(near: Socket, far: Socket, receiver: Socket): void {
    this.#isCut = true;
    this.#announceCut();
    switch (this.#cut?.kind) {
      case 'half':
        receiver.end();
        return;
      case 'reset':
        near.resetAndDestroy();
        far.resetAndDestroy();
        return;
      case 'stall':
        for (const flow of Object.values(this.#flows ?? {})) flow.dropping = true;
        near.pause();
        far.pause();
        return;
      default:
        near.destroySoon();
        far.destroySoon();
    }
  }
}
