/** Which answered pings a thread's owner is told of. */
import { expect, test } from 'vitest';
import { Ping } from '#lib/wire/protocol.js';
import { type StepPong, StepPongs } from '#lib/wire/step-pongs.js';

test('those of steps, in order; of more than any migration has the first', () => {
  const told: StepPong[] = [];
  const pongs = new StepPongs((event) => told.push(event));
  for (const value of [Ping.SETUP, Ping.PLACED, Ping.PLACED + 5, Ping.PACKAGE]) pongs.tell(value, 7);
  expect(told.map(({ value, atUs }) => [value, atUs])).toEqual([
    [Ping.SETUP, 7],
    [Ping.PACKAGE, 7],
  ]);
  for (let sent = 0; sent < 5000; sent += 1) pongs.tell(Ping.SETUP, 8);
  expect(told).toHaveLength(1000);
});
