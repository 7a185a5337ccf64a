/** Two channels over the two ends of a socket pair, for tests of what goes over one; in the test's own thread. */
import { Channel } from '#lib/channel/channel.js';
import { type EventfdHandle, native, type SocketHandle } from '#lib/native.js';
import { onThread } from './native-thread.ts';

export interface ChannelPair {
  readonly near: Channel;
  readonly far: Channel;
  readonly nearSocket: SocketHandle;
  readonly farSocket: SocketHandle;
  /** Ends blocking calls of `near`. */
  readonly kick: EventfdHandle;
  /** Closes the far end, as a peer that goes does; once. */
  closeFar(): void;
  /** In another thread: all that comes out of the far end until the near one is shut. */
  drainFar(): Promise<Uint8Array>;
  /** In another thread: sends all of this from the far end, however long the near one takes to read it. */
  sendFar(bytes: Uint8Array): Promise<unknown>;
  /** Shuts the near end down, so that the far one reads to its end. */
  shutNear(): void;
  close(): void;
}

/** `peer` is what the near channel calls its other end. */
export function channelPair(peer = 'the peer'): ChannelPair {
  const n = native();
  const [nearSocket, farSocket] = n.socketPair();
  const kick = n.eventfdCreate();
  const farKick = n.eventfdCreate();
  let farOpen = true;
  const closeFar = (): void => {
    if (farOpen) n.socketClose(farSocket);
    farOpen = false;
  };
  return {
    near: new Channel({ socket: nearSocket, peer }, kick),
    far: new Channel({ socket: farSocket, peer: 'the tester' }, farKick),
    nearSocket,
    farSocket,
    kick,
    closeFar,
    drainFar: () => drain(farSocket, farKick),
    sendFar: (bytes) =>
      onThread('test/send', { socket: farSocket, kick: farKick, bytes }, (nn, { socket, kick: kicked, bytes: all }) =>
        nn.socketSend(socket, kicked, all, 0, all.length),
      ).result,
    shutNear: () => n.socketShutdown(nearSocket),
    close: () => {
      n.socketClose(nearSocket);
      closeFar();
      n.eventfdClose(kick);
      n.eventfdClose(farKick);
    },
  };
}

/** Reads a socket to its end in a thread of its own, so that whoever writes never waits for the reader. */
function drain(socket: SocketHandle, kick: EventfdHandle): Promise<Uint8Array> {
  return onThread('test/drain', { socket, kick }, (n, handles) => {
    const pieces: Uint8Array[] = [];
    const buffer = new Uint8Array(65536);
    for (;;) {
      const received = n.socketReceive(handles.socket, handles.kick, buffer, 0, buffer.length);
      if (received <= 0) break;
      pieces.push(buffer.slice(0, received));
    }
    const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }).result;
}
