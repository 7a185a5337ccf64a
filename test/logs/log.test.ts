/** Which levels a log has. */
import { expect, test } from 'vitest';
import { isLogged, logLevels } from '#lib/logs/log.js';

test('a log has its level and what is graver', () => {
  expect(logLevels.filter((level) => isLogged(level, 'warn'))).toEqual(['error', 'warn']);
  expect(logLevels.filter((level) => isLogged(level, 'trace'))).toEqual([...logLevels]);
});
