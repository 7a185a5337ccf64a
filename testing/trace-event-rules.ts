/**
 * What the trace event format asks of a file that Perfetto and chrome://tracing open, written from its
 * definition and not from the writer: the fields of each kind of event, and what events say together.
 */
type Fields = Readonly<Record<string, 'string' | 'number' | 'args' | 'numbers'>>;

/** A file of trace events, as JSON.parse gives it. */
export interface TraceEventFile {
  readonly traceEvents: readonly Event[];
  readonly displayTimeUnit?: string;
  readonly otherData?: unknown;
}

/** Whatever stands there: {@link traceEventBreaches} says what it must be. */
type Event = Readonly<Record<string, never>>;

const common = { ph: 'string', name: 'string', pid: 'number', tid: 'number' } as const;
const timed = { ...common, ts: 'number' } as const;

/** The fields of each phase: all of `must`, and of `may` what is there; no others. */
const phases: Readonly<Record<string, { must: Fields; may: Fields }>> = {
  M: { must: { ...common, args: 'args' }, may: {} },
  B: { must: { ...timed, cat: 'string' }, may: { args: 'args' } },
  E: { must: timed, may: { args: 'args' } },
  i: { must: { ...timed, cat: 'string', s: 'string' }, may: { args: 'args' } },
  b: { must: { ...timed, cat: 'string', id: 'number' }, may: { args: 'args' } },
  e: { must: { ...timed, cat: 'string', id: 'number' }, may: { args: 'args' } },
  s: { must: { ...timed, cat: 'string', id: 'number' }, may: {} },
  t: { must: { ...timed, cat: 'string', id: 'number' }, may: {} },
  f: { must: { ...timed, cat: 'string', id: 'number', bp: 'string' }, may: {} },
  C: { must: { ...timed, args: 'numbers' }, may: {} },
};

const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value);

function fits(value: unknown, kind: Fields[string]): boolean {
  if (kind === 'string') return typeof value === 'string' && value !== '';
  if (kind === 'number') return isNumber(value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const values = Object.values(value);
  return kind === 'numbers'
    ? values.length > 0 && values.every(isNumber)
    : values.every((entry) => typeof entry === 'string' || typeof entry === 'boolean' || isNumber(entry));
}

function fieldBreaches(event: Event): string[] {
  const phase = phases[event.ph];
  if (phase === undefined) return [`phase ${event.ph}`];
  const known: Fields = { ...phase.must, ...phase.may };
  return [
    ...Object.keys(phase.must).filter((name) => !(name in event)),
    ...Object.entries(event)
      .filter(([name, value]) => known[name] === undefined || !fits(value, known[name]))
      .map(([name, value]) => `${name} ${JSON.stringify(value)}`),
  ];
}

/** What one track, wait or arrow has come to. */
interface Track {
  readonly open: string[];
  ts: number;
}

function trackOf(tracks: Map<string, Track>, key: string): Track {
  const track = tracks.get(key) ?? { open: [], ts: Number.NEGATIVE_INFINITY };
  tracks.set(key, track);
  return track;
}

/** A wait begins and ends once; an arrow starts, is led on, and ends. */
const mayFollow: Readonly<Record<string, readonly (string | undefined)[]>> = {
  b: [undefined],
  e: ['b'],
  s: [undefined],
  t: ['s', 't'],
  f: ['s', 't'],
};
/** Waits lie beside the threads; all else is on its thread's track, in order of time. */
const waits: ReadonlySet<string> = new Set(['b', 'e']);

/** Everything in the file that breaks a rule, in words; empty for a good one. */
export function traceEventBreaches({ traceEvents }: TraceEventFile): string[] {
  const breaches: string[] = [];
  const named = new Set<string>();
  const tracks = new Map<string, Track>();
  for (const [index, event] of traceEvents.entries()) {
    const say = (what: string) => breaches.push(`event ${index}, ${event.ph} ${event.name}: ${what}`);
    for (const what of fieldBreaches(event)) say(what);
    const { ph, name, pid, tid, ts, cat, id, args } = event as Readonly<Record<string, never>>;
    const thread = trackOf(tracks, `thread ${tid}`);
    if (ph === 'M') {
      const key = `${name} ${name === 'process_name' ? pid : tid}`;
      if (named.has(key)) say('named twice');
      named.add(key);
      if (args !== undefined && Object.keys(args).length !== 1) say('names more than one thing');
      continue;
    }
    for (const key of [`process_name ${pid}`, `thread_name ${tid}`]) if (!named.has(key)) say(`no ${key} before it`);
    const follows = mayFollow[ph];
    const own = ph === 'C' ? trackOf(tracks, `counter ${pid} ${name}`) : thread;
    if (!waits.has(ph)) {
      if (ts < own.ts) say(`at ${ts}, after ${own.ts}`);
      own.ts = ts;
    }
    if (ph === 'B') thread.open.push(name);
    if (ph === 'E' && thread.open.pop() !== name) say('closes what is not the innermost span');
    if (follows === undefined) continue;
    const way = trackOf(tracks, `${waits.has(ph) ? 'wait' : 'arrow'} ${cat} ${id}`);
    if (!follows.includes(way.open.at(-1))) say(`follows ${way.open.at(-1)}`);
    if (ts < way.ts) say(`at ${ts}, after ${way.ts}`);
    if (!waits.has(ph) && thread.open.length === 0) say('an arrow outside all spans');
    way.open.push(ph);
    way.ts = ts;
  }
  for (const [key, { open }] of tracks) {
    if (key.startsWith('thread') && open.length > 0) breaches.push(`${key}: ${open.join(', ')} still open`);
    if (key.startsWith('wait') && open.at(-1) !== 'e') breaches.push(`${key}: still open`);
  }
  return breaches;
}
