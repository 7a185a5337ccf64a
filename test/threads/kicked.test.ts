/** The kick, as what is thrown. */
import { expect, test } from 'vitest';
import { Kicked } from '#lib/threads/kicked.js';

test('is told apart from failures by its class', () => {
  const kicked = new Kicked();
  expect(kicked).toBeInstanceOf(Error);
  expect(kicked).toMatchObject({ name: 'Kicked', message: 'kicked' });
});
