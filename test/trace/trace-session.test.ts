/** What a subscriber gets: points of a session's threads on diagnostics channels, with names for indexes. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, expect, test } from 'vitest';
import { Trace } from '#lib/trace/trace.js';
import { type TraceMessage, TraceSession, traceChannels } from '#lib/trace/trace-session.js';
import { Breakpoint } from '../../testing/breakpoint.ts';

const subscriptions: [string, (message: unknown) => void][] = [];

function collect<T>(channel: string): T[] {
  const messages: T[] = [];
  const listener = (message: unknown) => messages.push(message as T);
  subscribe(channel, listener);
  subscriptions.push([channel, listener]);
  return messages;
}

afterEach(() => {
  for (const [channel, listener] of subscriptions.splice(0)) unsubscribe(channel, listener);
});

test('a thread’s points come by name, in order, values named and indexes told as names', () => {
  const requests = collect<TraceMessage>('postcopy:migrate_handle_rp_req_pages');
  const states = collect<TraceMessage>('postcopy:migrate_set_state');
  const session = new TraceSession('source', 'owner', { status: ['none', 'setup'] });
  const thread = new Trace(session.open('mig/src/rp'));
  session.name({ block: ['pc.ram', 'vga'] });
  session.trace.at('migrate_set_state', 1);
  thread.at('migrate_handle_rp_req_pages', 1, 4096, 8192);
  thread.at('migrate_handle_rp_req_pages', 0, 0, 4096);
  session.close();
  expect(states).toMatchObject([{ side: 'source', thread: 'owner', values: { status: 'setup' } }]);
  expect(requests.map(({ thread: name, values }) => [name, values])).toEqual([
    ['mig/src/rp', { block: 'vga', offset: 4096, length: 8192 }],
    ['mig/src/rp', { block: 'pc.ram', offset: 0, length: 4096 }],
  ]);
  expect(requests[1].timestampUs).toBeGreaterThanOrEqual(requests[0].timestampUs);
});

test('a value without a limit is told in a word, as JSON has no number for it', () => {
  const rests = collect<TraceMessage>('postcopy:migration_rate_limit');
  const session = new TraceSession('source', 'owner', {});
  session.trace.at('migration_rate_limit', Number.POSITIVE_INFINITY);
  session.trace.at('migration_rate_limit', 0.5);
  session.close();
  expect(rests.map(({ values }) => values.rest)).toEqual(['Infinity', 0.5]);
});

test('without a subscriber there is no ring', () => {
  const session = new TraceSession('source', 'owner', {});
  expect(session.open('mig/src/rp').ring).toBeUndefined();
  session.close();
});

test('words given by a test are those of every thread, and are still heard by a subscriber', () => {
  const passed = collect<TraceMessage>('postcopy:postcopy_start');
  const breakpoint = new Breakpoint();
  breakpoint.failAt('postcopy_start', 1);
  const session = new TraceSession('source', 'owner', {}, breakpoint.words);
  const thread = new Trace(session.open('mig/src/main'));
  thread.at('postcopy_start');
  expect(() => thread.at('postcopy_start')).toThrow('made to fail at postcopy_start');
  session.close();
  expect(session.words).toBe(breakpoint.words);
  expect(passed).toHaveLength(2);
});

test('what a full ring dropped is told', () => {
  collect('postcopy:postcopy_start');
  const dropped = collect<TraceMessage>('postcopy:trace_dropped');
  const session = new TraceSession('destination', 'owner', {});
  const thread = new Trace(session.open('mig/dst/main'));
  for (let i = 0; i < 64 * 1024 + 5; i += 1) thread.at('postcopy_start');
  session.close();
  expect(dropped).toMatchObject([
    { name: 'trace_dropped', side: 'destination', thread: 'mig/dst/main', values: { records: 5 } },
  ]);
});

test('points of all threads come in the order of time, whoever recorded them', () => {
  const pings = collect<TraceMessage>('postcopy:savevm_send_ping');
  const session = new TraceSession('source', 'owner', {});
  const threads = ['a', 'b', 'c'].map((name) => new Trace(session.open(name)));
  const order = [2, 0, 1, 1, 0, 2, 2, 1, 0];
  for (const [i, thread] of order.entries()) threads[thread].at('savevm_send_ping', i);
  session.close();
  const times = pings.map(({ timestampUs }) => timestampUs);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  // Within one microsecond the order of two threads is nobody's to know; each keeps its own.
  for (const [thread, name] of ['a', 'b', 'c'].entries()) {
    const mine = pings.filter((ping) => ping.thread === name).map(({ values }) => values.value);
    expect(mine).toEqual(order.flatMap((owner, i) => (owner === thread ? [i] : [])));
  }
});

test('what is too fresh waits for the next look, so that no thread comes late', () => {
  const pings = collect<TraceMessage>('postcopy:savevm_send_ping');
  const session = new TraceSession('source', 'owner', {});
  session.trace.at('savevm_send_ping', 1);
  session.publish();
  expect(pings).toHaveLength(0);
  session.close();
  expect(pings).toHaveLength(1);
});

test('a ring that wraps loses nothing', () => {
  const pings = collect<TraceMessage>('postcopy:savevm_send_ping');
  const session = new TraceSession('source', 'owner', {});
  for (let round = 0; round < 3; round += 1) {
    for (let i = 0; i < 50_000; i += 1) session.trace.at('savevm_send_ping', round * 50_000 + i);
    session.publish(Number.POSITIVE_INFINITY);
  }
  session.close();
  expect(pings.every(({ values }, i) => values.value === i)).toBe(true);
  expect(pings).toHaveLength(150_000);
});

test('there is a channel for each point, and one for what was dropped', () => {
  expect(traceChannels).toContain('postcopy:postcopy_start');
  expect(traceChannels).toContain('postcopy:trace_dropped');
  expect(new Set(traceChannels).size).toBe(traceChannels.length);
});
