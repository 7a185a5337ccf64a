/**
 * Trace points as trace events, the JSON that ui.perfetto.dev and chrome://tracing open: a process for each
 * side and a track for each of its threads, on the one clock of the host. Pure.
 *
 * What is drawn of a point:
 * - one that opens or closes a span: that end of the span, on its thread's track;
 * - a step of a requested page's way: a mark that arrows lead through, from the fault to the page;
 * - any other: an instant.
 * Beside the threads, each page that is waited for is a bar of its own, and some values are curves.
 */

import { type TracePoint, type TracePointName, tracePoints } from './trace-points.js';
import { TRACE_DROPPED, type TraceMessage } from './trace-session.js';

type TraceArgs = Readonly<Record<string, number | string | boolean>>;

/** One event, as it stands in the file. Times in microseconds. */
export interface TraceEvent {
  /** B, E: a span of a thread. i: an instant. b, e: a wait for a page. s, t, f: an arrow. C: a curve. M: a name. */
  readonly ph: 'B' | 'E' | 'i' | 'b' | 'e' | 's' | 't' | 'f' | 'C' | 'M';
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  /** Absent for names only. */
  readonly ts?: number;
  /** The numbered step, such as `S9.4`; `page` of what belongs to the wait for a page. */
  readonly cat?: string;
  /** The wait that b, e, s, t and f belong to. */
  readonly id?: number;
  /** i: on its thread's track. */
  readonly s?: 't';
  /** f: the arrow ends at the span around it. */
  readonly bp?: 'e';
  readonly args?: TraceArgs;
}

/** Curves: the values of a point that are drawn over time, by the curve's name. */
const counters: Readonly<Partial<Record<TracePointName, Readonly<Record<string, readonly string[]>>>>> = {
  migrate_pending: { 'bytes to go': ['size', 'threshold'] },
  migration_bitmap_sync_end: { 'dirty pages': ['dirtyPages'] },
  migration_throttle: { 'throttle percent': ['percent'] },
};

/** The way of a requested page: which end of its arrows a point is. Where it ends, the wait ends. */
const pageWay: Readonly<Partial<Record<TracePointName, 'request' | 'way' | 'arrival'>>> = {
  postcopy_ram_fault_thread_request: 'request',
  migrate_handle_rp_req_pages: 'way',
  get_queued_page: 'way',
  postcopy_place_page: 'arrival',
  postcopy_place_page_zero: 'arrival',
  postcopy_page_served: 'arrival',
};

const PAGE = 'page';
const processIds = { source: 1, destination: 2 } as const;
/** A thread's number tells its process: 200 is the first of the destination. */
const THREADS_MAX = 100;

/** What of a point does not change. */
interface Drawing {
  readonly step: string;
  readonly span: TracePoint['span'];
  readonly way: 'request' | 'way' | 'arrival' | undefined;
  readonly counters: readonly (readonly [name: string, values: readonly string[]])[];
}

const drawings: ReadonlyMap<string, Drawing> = new Map(
  Object.entries<TracePoint>(tracePoints).map(([name, { step, span }]) => [
    name,
    {
      step,
      span,
      way: pageWay[name as TracePointName],
      counters: Object.entries(counters[name as TracePointName] ?? {}),
    },
  ]),
);

interface Track {
  readonly pid: number;
  readonly tid: number;
  /** Names of the spans that are open, the outermost first. */
  readonly open: string[];
  lastUs: number;
}

/** A page that a vCPU waits for. */
interface Wait {
  readonly id: number;
  readonly offset: number;
  readonly sinceUs: number;
  readonly pid: number;
  readonly tid: number;
}

export class PerfettoTrace {
  readonly #tracks = new Map<string, Track>();
  /** Block → offset → wait. */
  readonly #waits = new Map<string, Map<number, Wait>>();
  #waiting = 0;
  #lastWait = 0;
  #lastUs = 0;
  #events: TraceEvent[] = [];

  /**
   * The events of that message, in the order of the file. Messages come in order of time; one that comes late is
   * still drawn, but an arrow or a wait may miss it.
   */
  add(message: TraceMessage): readonly TraceEvent[] {
    this.#events = [];
    const track = this.#trackOf(message);
    const { name, values } = message;
    // A thread's own points are in order; what was dropped is told at the end of what was not.
    const ts = Math.max(message.timestampUs, track.lastUs);
    track.lastUs = ts;
    this.#lastUs = Math.max(this.#lastUs, ts);
    const drawing = drawings.get(name);
    if (drawing?.span?.[0] === 'begin') this.#begin(track, drawing.span[1], ts, drawing.step, values);
    else if (drawing?.span?.[0] === 'end') this.#end(track, drawing.span[1], ts, drawing.step, name, values);
    else if (drawing?.way !== undefined) this.#pageStep(track, drawing, ts, name, values);
    else this.#instant(track, ts, drawing?.step ?? TRACE_DROPPED, name, values);
    for (const [counter, names] of drawing?.counters ?? []) this.#count(track.pid, counter, numbersOf(values, names));
    return this.#events;
  }

  /** Closes what a failure, or the end of the recording, has left open. */
  end(): readonly TraceEvent[] {
    this.#events = [];
    const ts = this.#lastUs;
    for (const track of this.#tracks.values()) {
      for (const name of track.open.splice(0).reverse()) this.#close(track, name, ts, { unfinished: true });
    }
    for (const waits of this.#waits.values()) {
      for (const { id, pid, tid } of waits.values()) {
        this.#push({ ph: 'e', name: 'page wait', cat: PAGE, id, pid, tid, ts, args: { unfinished: true } });
      }
      waits.clear();
    }
    return this.#events;
  }

  #push(event: TraceEvent): void {
    this.#events.push(event);
  }

  /** The track of the thread, named when it is first seen. */
  #trackOf({ side, thread }: TraceMessage): Track {
    const key = `${side} ${thread}`;
    const known = this.#tracks.get(key);
    if (known !== undefined) return known;
    const pid = processIds[side];
    const before = [...this.#tracks.values()].filter((track) => track.pid === pid).length;
    const tid = pid * THREADS_MAX + before;
    if (before === 0) this.#push({ ph: 'M', name: 'process_name', pid, tid, args: { name: side } });
    this.#push({ ph: 'M', name: 'thread_name', pid, tid, args: { name: thread } });
    this.#push({ ph: 'M', name: 'thread_sort_index', pid, tid, args: { sort_index: tid } });
    const track: Track = { pid, tid, open: [], lastUs: 0 };
    this.#tracks.set(key, track);
    return track;
  }

  #begin({ pid, tid, open }: Track, name: string, ts: number, cat: string, args: TraceArgs): void {
    open.push(name);
    this.#push({ ph: 'B', name, cat, pid, tid, ts, args });
  }

  /** Closes the innermost span of that name and what is open inside it; without one, the point is an instant. */
  #end(track: Track, span: string, ts: number, step: string, point: string, args: TraceArgs): void {
    const depth = track.open.lastIndexOf(span);
    if (depth < 0) return this.#instant(track, ts, step, point, args);
    for (const inner of track.open.splice(depth).reverse()) this.#close(track, inner, ts, inner === span ? args : {});
  }

  #close({ pid, tid }: Track, name: string, ts: number, args: TraceArgs): void {
    this.#push({ ph: 'E', name, pid, tid, ts, args });
  }

  #instant({ pid, tid }: Track, ts: number, cat: string, name: string, args: TraceArgs): void {
    this.#push({ ph: 'i', name, cat, pid, tid, ts, s: 't', args });
  }

  /** A curve belongs to a process, so several threads draw it: at the latest time there is, it never goes back. */
  #count(pid: number, name: string, args: Readonly<Record<string, number>>): void {
    if (Object.keys(args).length === 0) return;
    this.#push({ ph: 'C', name, pid, tid: pid * THREADS_MAX, ts: this.#lastUs, args });
  }

  /** A step on the way of pages. Arrows hold on to spans, so a step that has any is a span of no length. */
  #pageStep(track: Track, { step, way }: Drawing, ts: number, name: string, values: TraceMessage['values']): void {
    const { pid, tid } = track;
    const block = String(values.block);
    const offset = Number(values.offset);
    const waits = this.#waitsOf(block);
    const asked = way === 'request' && !waits.has(offset);
    if (asked) this.#open(waits, track, ts, block, offset);
    const concerned = way === 'request' && !asked ? [] : within(waits, ts, offset, Number(values.length ?? 1));
    if (concerned.length === 0) return this.#instant(track, ts, step, name, values);
    this.#push({ ph: 'B', name, cat: step, pid, tid, ts, args: values });
    for (const { id } of concerned) this.#push(arrow(way, { name: PAGE, cat: PAGE, id, pid, tid, ts }));
    this.#push({ ph: 'E', name, pid, tid, ts });
    if (way === 'arrival') this.#arrived(waits, concerned, ts);
  }

  #waitsOf(block: string): Map<number, Wait> {
    let waits = this.#waits.get(block);
    if (waits === undefined) {
      waits = new Map();
      this.#waits.set(block, waits);
    }
    return waits;
  }

  #open(waits: Map<number, Wait>, { pid, tid }: Track, ts: number, block: string, offset: number): void {
    this.#lastWait += 1;
    const id = this.#lastWait;
    waits.set(offset, { id, offset, sinceUs: ts, pid, tid });
    this.#push({ ph: 'b', name: 'page wait', cat: PAGE, id, pid, tid, ts, args: { block, offset } });
    this.#waiting += 1;
    this.#count(pid, 'pages waited for', { pages: this.#waiting });
  }

  #arrived(waits: Map<number, Wait>, arrived: readonly Wait[], ts: number): void {
    for (const { id, offset, pid, tid } of arrived) {
      waits.delete(offset);
      this.#push({ ph: 'e', name: 'page wait', cat: PAGE, id, pid, tid, ts });
    }
    this.#waiting -= arrived.length;
    this.#count(arrived[0].pid, 'pages waited for', { pages: this.#waiting });
  }
}

/** The waits at that time for a page from `offset` on, within so many bytes. Few wait at any time. */
function within(waits: ReadonlyMap<number, Wait>, ts: number, offset: number, length: number): Wait[] {
  if (waits.size === 0) return [];
  return [...waits.values()].filter(
    (wait) => wait.sinceUs <= ts && wait.offset >= offset && wait.offset < offset + length,
  );
}

function arrow(way: Drawing['way'], event: Omit<TraceEvent, 'ph'>): TraceEvent {
  if (way === 'request') return { ph: 's', ...event };
  return way === 'way' ? { ph: 't', ...event } : { ph: 'f', bp: 'e', ...event };
}

/** Those of the values that can be drawn: one without a limit can't. */
function numbersOf(values: TraceMessage['values'], names: readonly string[]): Record<string, number> {
  const numbers: Record<string, number> = {};
  for (const name of names) {
    const value = values[name];
    if (typeof value === 'number') numbers[name] = value;
  }
  return numbers;
}
