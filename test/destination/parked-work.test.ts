/** Where threads park: they get their work when their word is set, or none, and hold no port open. */
import { MessageChannel } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { createDestinationSignals, Handed } from '#lib/destination/destination-signals.js';
import { handWork } from '#lib/destination/parked-work.js';
import { onLibThread } from '../../testing/lib-thread.ts';

const values = { PREPARED: Handed, LISTEN: Handed } as const;

function park(word: 'PREPARED' | 'LISTEN') {
  const signals = createDestinationSignals();
  const { port1, port2 } = new MessageChannel();
  const closed = new Promise<void>((resolve) => port1.on('close', () => resolve()));
  const thread = onLibThread(
    'test/parked',
    { signals: '#lib/destination/destination-signals.js', parked: '#lib/destination/parked-work.js' },
    { buffer: signals.buffer, word, port: port2 },
    (
      lib: {
        signals: typeof import('#lib/destination/destination-signals.js');
        parked: typeof import('#lib/destination/parked-work.js');
      },
      data,
      aboutToWait,
    ) => {
      const mine = lib.signals.createDestinationSignals(data.buffer);
      aboutToWait();
      return lib.parked.awaitWork(mine, data.word, data.port);
    },
    [port2],
  );
  return { signals, port: port1, closed, thread };
}

describe.each(['PREPARED', 'LISTEN'] as const)('parked until %s', (word) => {
  test('a thread gets its work', async () => {
    const { signals, port, closed, thread } = park(word);
    await thread.waits();
    handWork(port, { blocks: [1, 2, 3] });
    signals.exchange(word, 0, values[word].YES);
    expect(await thread.result).toEqual({ blocks: [1, 2, 3] });
    await closed;
  });

  test('a thread whose word was set before it came gets it too', async () => {
    const { signals, port, closed, thread } = park(word);
    handWork(port, 'early');
    signals.set(word, values[word].YES);
    expect(await thread.result).toBe('early');
    await closed;
  });

  test('a thread gets none where it never comes to that', async () => {
    const { signals, closed, thread } = park(word);
    await thread.waits();
    signals.exchange(word, 0, values[word].NEVER);
    expect(await thread.result).toBeUndefined();
    await closed;
  });
});
