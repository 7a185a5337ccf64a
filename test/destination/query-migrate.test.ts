/** query-migrate of a destination, as a real QEMU answered it in each status. */
import { expect, test } from 'vitest';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { type IncomingInfo, incomingInfo } from '#lib/destination/incoming-info.js';
import { type IncomingStatus, incomingStatuses } from '#lib/destination/incoming-state.js';
import { type QueryIncoming, queryIncoming } from '#lib/destination/query-migrate.js';

function infoIn(status: IncomingStatus, blocktime = false): IncomingInfo {
  return incomingInfo({
    status,
    postcopy: true,
    counters: createDestinationCounters().snapshot(),
    latency: () => ({ p50Us: 0, p99Us: 0, maxUs: 0 }),
    blocktime: blocktime ? { overallUs: 12_900, vcpuUs: [20_100, 13_999] } : undefined,
    guestDied: undefined,
    lost: undefined,
  });
}

const address = { 'socket-address': [{ type: 'unix', path: 'in' }] } as const;
const observed: Readonly<Record<IncomingStatus, QueryIncoming>> = {
  none: {},
  setup: address,
  active: { status: 'active', ...address },
  'postcopy-active': { status: 'postcopy-active', ...address },
  'postcopy-paused': { status: 'postcopy-paused', ...address },
  'postcopy-recover': { status: 'postcopy-recover', ...address },
  completed: { status: 'completed' },
  failed: { status: 'failed' },
};

test.each(incomingStatuses)('in status %s', (status) => {
  expect(queryIncoming(infoIn(status), 'unix:in')).toEqual(observed[status]);
});

test.each([
  ['unix:/run/m:1.sock', { type: 'unix', path: '/run/m:1.sock' }],
  ['tcp:192.0.2.1:4444', { type: 'inet', host: '192.0.2.1', port: '4444' }],
  ['tcp:[2001:db8::1]:4444', { type: 'inet', host: '2001:db8::1', port: '4444' }],
])('listening at %s', (uri, expected) => {
  expect(queryIncoming(infoIn('setup'), uri)).toEqual({ 'socket-address': [expected] });
});

test.each(incomingStatuses)('blocktime is there from postcopy on: %s', (status) => {
  const fields = { 'postcopy-blocktime': 12, 'postcopy-vcpu-blocktime': [20, 13] };
  const shown = status.startsWith('postcopy-') || status === 'completed';
  expect(queryIncoming(infoIn(status, true), 'unix:in')).toEqual({ ...observed[status], ...(shown ? fields : {}) });
});

test('a precopy has no blocktime', () => {
  expect(queryIncoming({ ...infoIn('completed', true), postcopy: false }, 'unix:in')).toEqual({ status: 'completed' });
});

test('why it failed', () => {
  expect(queryIncoming(infoIn('failed'), 'unix:in', 'no route')).toEqual({
    status: 'failed',
    'error-desc': 'no route',
  });
});
