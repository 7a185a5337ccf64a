/** A pause: what the migration thread and whoever recovers wait for, however it ends. */
import { expect, test } from 'vitest';
import { MigrationError } from '#lib/errors.js';
import type { SocketHandle } from '#lib/native.js';
import { Pause } from '#lib/source/pause.js';

const reason = new MigrationError('PEER_GONE', 'lost');
const channel = { socket: 1 as SocketHandle, peer: 'there' };

test('another connection goes to the thread; who recovers hears when it goes on', async () => {
  const pause = new Pause(reason);
  expect(pause.reason).toBe(reason);
  let recovered = false;
  const going = pause.goOn(channel).then(() => {
    recovered = true;
  });
  expect(await pause.channel).toBe(channel);
  expect(recovered).toBe(false);
  pause.recovered();
  await going;
});

test('a connection that breaks too tells whoever recovers', async () => {
  const pause = new Pause(reason);
  const going = pause.goOn(channel);
  const broken = new MigrationError('PEER_GONE', 'lost again');
  pause.end(broken);
  await expect(going).rejects.toBe(broken);
  expect(await pause.channel).toBe(channel);
});

test('given up, both hear it, and nobody has to listen', async () => {
  const pause = new Pause(reason);
  const givenUp = new MigrationError('RECOVERY_GIVEN_UP', 'enough');
  pause.end(givenUp);
  await expect(pause.channel).rejects.toBe(givenUp);
  await expect(pause.goOn(channel)).rejects.toBe(givenUp);
});
