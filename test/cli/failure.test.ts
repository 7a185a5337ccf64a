/** How a failure is told, by what the command line asks for. */
import { describe, expect, test } from 'vitest';
import { failureReport, failureWish } from '#lib/cli/failure.js';
import { MigrationError } from '#lib/errors.js';

test.each([
  [[], {}, false, false],
  [['demo', '--json'], {}, true, false],
  [['demo'], { POSTCOPY_JSON: '1' }, true, false],
  [['demo'], { POSTCOPY_JSON: '0' }, false, false],
  [['demo', '--log-format', 'json'], {}, false, true],
  [['demo', '--log-format=json'], {}, false, true],
  [['demo', '--log-format=text'], { POSTCOPY_LOG_FORMAT: 'json' }, false, false],
  [['demo'], { POSTCOPY_LOG_FORMAT: 'json' }, false, true],
])('%j with %j', (args, environment, json, logsJson) => {
  expect(failureWish(args, environment)).toEqual({ json, logsJson });
});

describe('the object', () => {
  test('of a failure', () => {
    expect(failureReport(new MigrationError('TIMEOUT', 'too late', { hint: 'wait' }))).toEqual({
      status: 'failed',
      error: { code: 'TIMEOUT', message: 'too late', hint: 'wait' },
    });
  });

  test('of an interruption', () => {
    expect(failureReport(new MigrationError('CANCELLED', 'interrupted'))).toMatchObject({ status: 'cancelled' });
  });
});
