/** The last word of a destination that fails: it is heard, and nobody waits for ever. */
import { expect, test } from 'vitest';
import { sayCompleted, sayFailed } from '#lib/destination/farewell.js';
import { native } from '#lib/native.js';
import { channelPair } from '../../testing/channel-pair.ts';

const SHUT_WITH_ERROR = [0, 1, 0, 4, 0, 0, 0, 1];

test('SHUT with an error arrives, and what the peer still sent is read and dropped', () => {
  const pair = channelPair();
  pair.far.send(new Uint8Array(100_000));
  let heard: number[] = [];
  sayFailed(pair.near, true, () => {
    const received = new Uint8Array(64);
    heard = [...received.subarray(0, pair.far.receive(received, 0, received.length))];
    pair.closeFar(); // the peer has heard it, and closes
  });
  expect(heard).toEqual(SHUT_WITH_ERROR);
  pair.close();
});

test('where another thread has said it, what the peer still sends is dropped all the same', () => {
  const pair = channelPair();
  pair.far.send(new Uint8Array(100_000));
  let heard: number | undefined;
  sayFailed(pair.near, false, () => {
    pair.shutNear();
    heard = pair.far.receive(new Uint8Array(64), 0, 64);
    pair.closeFar();
  });
  expect(heard).toBe(0); // the end, and nothing before it
  pair.close();
});

test('a peer that is gone needs none', () => {
  const pair = channelPair();
  pair.closeFar();
  let waited = false;
  sayFailed(pair.near, true, () => {
    waited = true;
  });
  expect(waited).toBe(false);
  pair.close();
});

test('a peer that does not close is left at the kick', () => {
  const pair = channelPair();
  sayFailed(pair.near, true, () => native().eventfdSignal(pair.kick));
  pair.close();
});

test('SHUT with success arrives', () => {
  const pair = channelPair();
  sayCompleted(pair.near);
  const received = new Uint8Array(64);
  expect([...received.subarray(0, pair.far.receive(received, 0, received.length))]).toEqual([0, 1, 0, 4, 0, 0, 0, 0]);
  pair.close();
});

test.each<[string, (pair: ReturnType<typeof channelPair>) => void]>([
  ['a peer that is gone', (pair) => pair.closeFar()],
  ['a kick', ({ kick }) => native().eventfdSignal(kick)],
])('success is not undone by %s', (_what, disturb) => {
  const pair = channelPair();
  disturb(pair);
  expect(() => sayCompleted(pair.near)).not.toThrow();
  pair.close();
});
