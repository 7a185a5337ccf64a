/** What a record tells of a migration. */
import { expect, test } from 'vitest';
import { MigrationError } from '#lib/errors.js';
import { errorFields, incomingFields, outgoingFields } from '#lib/logs/migration-fields.js';
import { destinationDone, sourceDone } from '../../testing/demo-parts.ts';

test('how each side stands', () => {
  const { info } = sourceDone;
  expect(outgoingFields(info)).toMatchObject({
    ...{ side: 'source', status: info.status, downtimeMs: info.downtime, transferred: info.ram.transferred },
  });
  const { faults, ram, status } = destinationDone.info;
  expect(incomingFields(destinationDone.info)).toMatchObject({
    ...{ side: 'destination', status, faults: faults.count, postcopyRequests: ram.postcopyRequests },
  });
});

test('an error with its code, what to do, and where in the stream it is, if it is', () => {
  const error = new MigrationError('STREAM_CORRUPT', 'a bad byte', { offset: 12, record: 'PING', hint: 'look' });
  expect(errorFields(error)).toEqual({
    error: { code: 'STREAM_CORRUPT', message: 'a bad byte', hint: 'look', offset: 12, record: 'PING' },
  });
  expect(errorFields(new Error('oh'))).toEqual({ error: { code: 'INTERNAL', message: 'oh' } });
});
