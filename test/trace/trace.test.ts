/** Trace points as a thread passes them: recorded, dropped when the ring is full, and broken at. */
import { describe, expect, test } from 'vitest';
import {
  createTraceWords,
  TRACE_CURSOR_WORDS,
  TRACE_RECORD_NUMBERS,
  Trace,
  TraceCursor,
  TraceMode,
  TraceWord,
} from '#lib/trace/trace.js';
import { tracePointNames } from '#lib/trace/trace-points.js';
import { Breakpoint } from '../../testing/breakpoint.ts';

function traceOf(records: number, mode: number) {
  const words = createTraceWords();
  new Int32Array(words)[TraceWord.MODE] = mode;
  const ring = new SharedArrayBuffer(TRACE_CURSOR_WORDS * 4 + records * TRACE_RECORD_NUMBERS * 8);
  const cursors = new Int32Array(ring, 0, TRACE_CURSOR_WORDS);
  const numbers = new Float64Array(ring, TRACE_CURSOR_WORDS * 4);
  return { trace: new Trace({ words, ring }), words, cursors, numbers };
}

describe('recording', () => {
  test('a point becomes its index, the time and its values', () => {
    const { trace, cursors, numbers } = traceOf(4, TraceMode.RECORD);
    trace.at('savevm_send_ping', 7);
    trace.at('migrate_pending', 1, 2, 3, 4);
    expect(cursors[TraceCursor.WRITTEN]).toBe(2);
    expect(numbers[0]).toBe(tracePointNames.indexOf('savevm_send_ping'));
    expect(numbers[2]).toBe(7);
    const second = TRACE_RECORD_NUMBERS;
    expect([...numbers.subarray(second + 2, second + 6)]).toEqual([1, 2, 3, 4]);
    expect(numbers[second + 1]).toBeGreaterThanOrEqual(numbers[1]);
  });

  test('nothing is recorded while it is off', () => {
    const { trace, cursors } = traceOf(4, TraceMode.OFF);
    trace.at('postcopy_start');
    expect(cursors[TraceCursor.WRITTEN]).toBe(0);
  });

  test('a full ring drops and counts; once read it takes more', () => {
    const { trace, cursors } = traceOf(2, TraceMode.RECORD);
    for (let i = 0; i < 5; i += 1) trace.at('savevm_send_ping', i);
    expect(cursors[TraceCursor.WRITTEN]).toBe(2);
    expect(cursors[TraceCursor.DROPPED]).toBe(3);
    cursors[TraceCursor.READ] = 2;
    trace.at('savevm_send_ping', 9);
    expect(cursors[TraceCursor.WRITTEN]).toBe(3);
  });
});

describe('breaking', () => {
  test('fails at the point, once, after so many passes', () => {
    const { trace, words } = traceOf(1, TraceMode.OFF);
    const breakpoint = new Breakpoint(words);
    breakpoint.failAt('savevm_send_ping', 2);
    trace.at('postcopy_start');
    trace.at('savevm_send_ping', 1);
    trace.at('savevm_send_ping', 2);
    expect(breakpoint.isReached).toBe(false);
    expect(() => trace.at('savevm_send_ping', 3)).toThrow('made to fail at savevm_send_ping');
    expect(breakpoint.isReached).toBe(true);
    trace.at('savevm_send_ping', 4);
  });
});
