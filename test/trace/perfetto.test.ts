/** Trace points as trace events: what is drawn of each, and that any run of points makes a well-formed file. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PerfettoTrace, type TraceEvent } from '#lib/trace/perfetto.js';
import { type TracePoint, tracePointNames, tracePoints } from '#lib/trace/trace-points.js';
import type { TraceMessage } from '#lib/trace/trace-session.js';
import { type TraceEventFile, traceEventBreaches } from '../../testing/trace-event-rules.ts';

const table: Readonly<Record<string, TracePoint>> = tracePoints;

type Point = [thread: string, timestampUs: number, name: string, values?: TraceMessage['values']];

function draw(points: Point[]): TraceEvent[] {
  const trace = new PerfettoTrace();
  const events = points.flatMap(([thread, timestampUs, name, values = {}]) => {
    const side = thread.startsWith('mig/dst') ? 'destination' : 'source';
    return trace.add({ name, side, thread, timestampUs, values });
  });
  return [...events, ...trace.end()];
}

const breachesOf = (events: readonly TraceEvent[]) =>
  traceEventBreaches({ traceEvents: events } as unknown as TraceEventFile);

/** The events but for names of processes and threads, in short. */
function brief(events: TraceEvent[]): string[] {
  return events
    .filter(({ ph }) => ph !== 'M')
    .map(({ ph, name, ts, id }) => `${ph} ${name} @${ts}${id ? ` #${id}` : ''}`);
}

test('processes and threads are named once, when they are first seen', () => {
  const events = draw([
    ['mig/src/main', 1, 'savevm_state_setup'],
    ['mig/src/rp', 2, 'source_return_path_thread_entry'],
    ['mig/dst/main', 3, 'loadvm_state_header'],
    ['mig/src/main', 4, 'postcopy_start_set_run'],
  ]);
  const names = events.filter(({ name }) => /^(process|thread)_name$/.test(name));
  expect(names.map(({ pid, tid, args }) => [pid, tid, args?.name])).toEqual([
    [1, 100, 'source'],
    [1, 100, 'mig/src/main'],
    [1, 101, 'mig/src/rp'],
    [2, 200, 'destination'],
    [2, 200, 'mig/dst/main'],
  ]);
  expect(breachesOf(events)).toEqual([]);
});

test('a point without a span is an instant of its thread, with its values', () => {
  const events = draw([['mig/src/main', 7, 'savevm_send_ping', { value: 2 }]]);
  expect(events.at(-1)).toEqual({
    ph: 'i',
    name: 'savevm_send_ping',
    cat: 'S5',
    pid: 1,
    tid: 100,
    ts: 7,
    s: 't',
    args: { value: 2 },
  });
});

describe('spans', () => {
  test('open and close by their points, nested', () => {
    const events = draw([
      ['mig/src/main', 1, 'postcopy_start'],
      ['mig/src/main', 2, 'migration_guest_stopped', { ran: 1 }],
      ['mig/src/main', 3, 'migration_downtime_end', { downtime: 900 }],
      ['mig/src/main', 4, 'postcopy_start_end'],
    ]);
    expect(brief(events)).toEqual(['B postcopy start @1', 'B downtime @2', 'E downtime @3', 'E postcopy start @4']);
    expect(events.at(-2)?.args).toEqual({ downtime: 900 });
  });

  test('that a failure left open are closed at the end, and say so', () => {
    const events = draw([
      ['mig/src/main', 1, 'postcopy_start'],
      ['mig/src/main', 2, 'migration_guest_stopped'],
      ['mig/src/rp', 9, 'source_return_path_thread_bad_end'],
    ]);
    expect(brief(events).slice(-2)).toEqual(['E downtime @9', 'E postcopy start @9']);
    expect(events.slice(-2).every(({ args }) => args?.unfinished === true)).toBe(true);
    expect(breachesOf(events)).toEqual([]);
  });

  test('are closed with the one around them', () => {
    const events = draw([
      ['mig/src/main', 1, 'postcopy_start'],
      ['mig/src/main', 2, 'savevm_section_start', { sectionId: 2 }],
      ['mig/src/main', 3, 'postcopy_start_end'],
      ['mig/src/main', 4, 'savevm_section_end', { sectionId: 2 }],
    ]);
    expect(brief(events)).toEqual([
      'B postcopy start @1',
      'B section @2',
      'E section @3',
      'E postcopy start @3',
      'i savevm_section_end @4',
    ]);
  });
});

describe('a page that is waited for', () => {
  const page = { block: 'pc.ram', offset: 8192 };
  const request: Point = ['mig/dst/fault', 10, 'postcopy_ram_fault_thread_request', { ...page, thread: 77 }];
  const range = { block: 'pc.ram', offset: 4096, length: 8192 };

  test('is a bar from its fault to its placing, and arrows lead through the source', () => {
    const events = draw([
      request,
      ['mig/src/rp', 20, 'migrate_handle_rp_req_pages', range],
      ['mig/src/main', 30, 'get_queued_page', range],
      ['mig/dst/listen', 40, 'postcopy_place_page', range],
      ['mig/dst/listen', 41, 'postcopy_page_served', { ...page, faultToArrival: 25, arrivalToPlaced: 5 }],
    ]);
    expect(brief(events)).toEqual([
      'b page wait @10 #1',
      'C pages waited for @10',
      'B postcopy_ram_fault_thread_request @10',
      's page @10 #1',
      'E postcopy_ram_fault_thread_request @10',
      'B migrate_handle_rp_req_pages @20',
      't page @20 #1',
      'E migrate_handle_rp_req_pages @20',
      'B get_queued_page @30',
      't page @30 #1',
      'E get_queued_page @30',
      'B postcopy_place_page @40',
      'f page @40 #1',
      'E postcopy_place_page @40',
      'e page wait @40 #1',
      'C pages waited for @40',
      'i postcopy_page_served @41',
    ]);
    expect(breachesOf(events)).toEqual([]);
  });

  test.each([
    ['another block', { ...range, block: 'vga' }],
    ['the pages before it', { ...range, offset: 0 }],
    ['the pages behind it', { ...range, offset: 12288 }],
  ])('is not ended by %s', (_what, other) => {
    const events = draw([request, ['mig/dst/listen', 40, 'postcopy_place_page', other]]);
    expect(events.find(({ ph }) => ph === 'e')?.args).toEqual({ unfinished: true });
  });

  test('is one bar, however many vCPUs fault on it, and a new one after it was there', () => {
    const place: Point = ['mig/dst/listen', 20, 'postcopy_place_page_zero', { ...page, length: 4096 }];
    const again: Point = ['mig/dst/fault', 30, 'postcopy_ram_fault_thread_request', { ...page, thread: 77 }];
    const events = draw([request, request, place, again]);
    expect(brief(events).filter((event) => /^[be] /.test(event))).toEqual([
      'b page wait @10 #1',
      'e page wait @20 #1',
      'b page wait @30 #2',
      'e page wait @30 #2',
    ]);
  });

  test('that nobody waits for leaves an instant', () => {
    expect(brief(draw([['mig/dst/listen', 5, 'postcopy_place_page', range]]))).toEqual(['i postcopy_place_page @5']);
  });
});

test('curves show what is left', () => {
  const values = { size: 4096, threshold: 100, canPostcopy: 4096, mustPrecopy: 0 };
  const curve = draw([['mig/src/main', 3, 'migrate_pending', values]]).find(({ ph }) => ph === 'C');
  expect(curve).toMatchObject({ name: 'bytes to go', pid: 1, ts: 3, args: { size: 4096, threshold: 100 } });
  const unlimited = draw([['mig/src/main', 3, 'migrate_pending', { ...values, threshold: 'Infinity' }]]);
  expect(unlimited.find(({ ph }) => ph === 'C')?.args).toEqual({ size: 4096 });
});

test('what a ring dropped stands where it is missing', () => {
  const events = draw([
    ['mig/dst/listen', 5, 'postcopy_ram_listen_thread_start'],
    ['mig/dst/listen', 4, 'trace_dropped', { records: 12 }],
  ]);
  expect(events.at(-1)).toMatchObject({ ph: 'i', name: 'trace_dropped', ts: 5, args: { records: 12 } });
});

const threads = ['mig/src/main', 'mig/src/rp', 'mig/dst/fault', 'mig/dst/listen', 'owner'];
const message = fc
  .record({
    name: fc.constantFrom(...tracePointNames, 'trace_dropped'),
    thread: fc.constantFrom(...threads),
    timestampUs: fc.double({ min: 0, max: 1000, noNaN: true }),
    numbers: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 4, maxLength: 4 }),
  })
  .map(({ name, thread, timestampUs, numbers }): TraceMessage => {
    const drawn = (value: string, kind: string, number: number) => {
      if (kind === 'block') return `block ${number % 2}`;
      return number === 3 && value !== 'offset' ? 'Infinity' : number * 4096;
    };
    const values = Object.entries(table[name]?.values ?? { records: 'count' }).map(([value, kind], i) => [
      value,
      drawn(value, kind, numbers[i]),
    ]);
    const side = thread.startsWith('mig/dst') ? 'destination' : 'source';
    return { name, side, thread, timestampUs, values: Object.fromEntries(values) };
  });

test('whatever points are passed, also some late ones, the file keeps to the format (property)', () => {
  const inOrder = (messages: TraceMessage[]) => messages.sort((a, b) => a.timestampUs - b.timestampUs);
  fc.assert(
    fc.property(fc.array(message, { maxLength: 60 }), fc.boolean(), (messages, late) => {
      const given = late ? messages : inOrder(messages);
      const trace = new PerfettoTrace();
      const events = [...given.flatMap((given) => trace.add(given)), ...trace.end()];
      expect(breachesOf(events)).toEqual([]);
      expect(events.length).toBeGreaterThanOrEqual(messages.length);
    }),
    { numRuns: 500 },
  );
});

describe('the rules themselves find', () => {
  const base = { pid: 1, tid: 100 };
  const names = [
    { ph: 'M', name: 'process_name', ...base, args: { name: 'source' } },
    { ph: 'M', name: 'thread_name', ...base, args: { name: 'owner' } },
  ];
  const event = (ph: string, ts: number, more = {}) => ({ ph, name: 'x', cat: 'S1', ...base, ts, ...more });
  const end = (ts: number) => ({ ph: 'E', name: 'x', ...base, ts });
  test.each<[string, object[], string]>([
    ['a thread without a name', [names[0], event('i', 1, { s: 't' })], 'no thread_name'],
    ['time that goes back', [...names, event('i', 2, { s: 't' }), event('i', 1, { s: 't' })], 'after 2'],
    ['a span left open', [...names, event('B', 1)], 'still open'],
    ['an end without a beginning', [...names, end(1)], 'innermost'],
    ['a wait left open', [...names, event('b', 1, { id: 1 })], 'still open'],
    ['an arrow outside a span', [...names, event('s', 1, { id: 1 })], 'outside'],
    ['an arrow from nowhere', [...names, event('B', 1), event('f', 1, { id: 1, bp: 'e' }), end(1)], 'follows'],
    ['a missing field', [...names, event('i', 1)], ': s'],
    ['a field too many', [...names, event('i', 1, { s: 't', dur: 1 })], 'dur 1'],
    ['no number', [...names, event('i', Number.NaN, { s: 't' })], 'ts null'],
  ])('%s', (_what, traceEvents, says) => {
    const breaches = traceEventBreaches({ traceEvents } as unknown as TraceEventFile);
    expect(breaches.join('\n')).toContain(says);
  });
});
