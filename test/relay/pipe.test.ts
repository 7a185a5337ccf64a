/** A pipe between two streams of the test: order, bounds, and that it neither reads nor writes when it must not. */
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { type Fault, FaultPlan } from '#lib/relay/faults.js';
import { Bandwidth, Latency } from '#lib/relay/pacing.js';
import { type Ending, Pipe, type PipeOptions } from '#lib/relay/pipe.js';
import { joined, text } from '../../testing/feed.ts';
import { cutInto, pattern } from '../../testing/relay-peers.ts';

/** A stream that gives out pieces as long as it is read, counts them, and keeps what is written to it. */
class Ends extends Duplex {
  given = 0;
  readonly written: Uint8Array[] = [];
  /** Set: writes are held until it is called. */
  release: (() => void) | undefined;
  readonly #pieces: Iterator<Uint8Array>;
  #holds: boolean;

  constructor(pieces: Iterable<Uint8Array>, holds = false) {
    super({ highWaterMark: 1024, allowHalfOpen: true });
    this.#pieces = pieces[Symbol.iterator]();
    this.#holds = holds;
  }

  override _read(): void {
    const { value, done } = this.#pieces.next();
    this.given += done ? 0 : value.length;
    this.push(done ? null : value);
  }

  override _write(piece: Buffer, _encoding: string, callback: () => void): void {
    this.written.push(Uint8Array.from(piece));
    if (!this.#holds) return callback();
    this.release = () => {
      this.#holds = false;
      callback();
    };
  }
}

interface Piped {
  readonly pipe: Pipe;
  readonly from: Ends;
  readonly to: Ends;
  readonly ended: Promise<Ending>;
  /** The first fault that happened. */
  readonly fault: Promise<Fault>;
}

function piped(from: Ends, to: Ends, options: Partial<PipeOptions> = {}): Piped {
  let ended: (how: Ending) => void = () => {};
  const end = new Promise<Ending>((resolve) => {
    ended = resolve;
  });
  let happened: (fault: Fault) => void = () => {};
  const first = new Promise<Fault>((resolve) => {
    happened = resolve;
  });
  const pipe = new Pipe({
    from,
    to,
    bandwidth: new Bandwidth(0),
    latency: new Latency(0, 0, Math.random),
    lineBytes: 0,
    faults: new FaultPlan([]),
    now: () => performance.now(),
    events: {
      passed: () => {},
      fault: (fault) => {
        happened(fault);
        if (fault.kind === 'stall') pipe.stall();
        if (fault.kind === 'cut') pipe.abandon();
      },
      ended,
    },
    ...options,
  });
  return { pipe, from, to, ended: end, fault: first };
}

function* endless(size: number): Generator<Uint8Array> {
  for (;;) yield new Uint8Array(size);
}

const bytes = pattern(200_000, 1);
const pieces = cutInto(bytes, [1, 700, 65_536, 3000]);

describe('what comes out is what went in, in order, and then the end', () => {
  test.each<[string, Partial<PipeOptions>]>([
    ['at once', {}],
    ['at a rate', { bandwidth: new Bandwidth(20e6) }],
    ['after a delay', { latency: new Latency(3, 0, Math.random), lineBytes: 1e6 }],
    ['after a delay, in a line of little room', { latency: new Latency(1, 0, Math.random), lineBytes: 4000 }],
    [
      'at a rate and with jitter',
      { bandwidth: new Bandwidth(2e7), latency: new Latency(1, 3, Math.random), lineBytes: 1e6 },
    ],
  ])('%s', async (_name, options) => {
    const { pipe, to, ended } = piped(new Ends(pieces), new Ends([]), options);
    pipe.start();
    expect(await ended).toBe('end');
    expect(text(joined(to.written)) === text(bytes)).toBe(true);
    expect(pipe.passed).toBe(bytes.length);
    expect(pipe.over).toBe(true);
  });
});

describe('memory', () => {
  test('a receiver that takes nothing stops the reading', async () => {
    const { pipe, from, to, ended } = piped(new Ends(cutInto(bytes, [1000])), new Ends([], true));
    const paused = once(from, 'pause');
    pipe.start();
    await paused;
    expect(from.given).toBeLessThanOrEqual(5000);
    to.release?.();
    expect(await ended).toBe('end');
    expect(from.given).toBe(bytes.length);
  });

  test.each([
    ['large pieces', 10_000, 100_000],
    ['single bytes, each of which takes 512', 1, 200],
  ])('no more than the line holds is on its way: %s', async (_name, size, most) => {
    const { pipe, from, to } = piped(new Ends(endless(size)), new Ends([]), {
      latency: new Latency(2 ** 40, 0, Math.random),
      lineBytes: 90_000,
    });
    const paused = once(from, 'pause');
    pipe.start();
    await paused;
    expect(from.given).toBeGreaterThanOrEqual(Math.min(90_000, most) - 30);
    // Besides the line: what the stream itself reads ahead.
    expect(from.given).toBeLessThanOrEqual(most + Math.max(1024, 2 * size));
    expect(to.written).toEqual([]);
    pipe.abandon();
    from.destroy();
  });
});

describe('faults', () => {
  test('a cut lets through just the bytes before it', async () => {
    const cut: Fault = { kind: 'cut', after: 70_000 };
    const { pipe, to, fault } = piped(new Ends(pieces), new Ends([]), { faults: new FaultPlan([cut]) });
    pipe.start();
    expect(await fault).toBe(cut);
    expect(pipe.over).toBe(true);
    expect(text(joined(to.written)) === text(bytes.subarray(0, 70_000))).toBe(true);
  });

  test('a cut before the first byte', () => {
    const { pipe, from, to } = piped(new Ends(pieces), new Ends([]), {
      faults: new FaultPlan([{ kind: 'cut', after: 0 }]),
    });
    pipe.start();
    expect(pipe.over).toBe(true);
    expect(to.written).toEqual([]);
    from.destroy();
  });

  test('a stall holds everything, and a resume lets it go on', async () => {
    const stall: Fault = { kind: 'stall', after: 1000 };
    const { pipe, from, to, ended } = piped(new Ends(pieces), new Ends([]), { faults: new FaultPlan([stall]) });
    const paused = once(from, 'pause');
    pipe.start();
    await paused;
    expect(from.isPaused()).toBe(true);
    expect(text(joined(to.written)) === text(bytes.subarray(0, pipe.passed))).toBe(true);
    expect(pipe.passed).toBe(1000);
    pipe.resume();
    expect(await ended).toBe('end');
    expect(text(joined(to.written)) === text(bytes)).toBe(true);
  });

  test('a failure of the sender comes behind its bytes', async () => {
    const slow = { lineBytes: 1e6, latency: new Latency(1, 0, Math.random) };
    const { pipe, from, to, ended } = piped(new Ends(pieces), new Ends([]), slow);
    from.once('data', () => pipe.failed());
    pipe.start();
    expect(await ended).toBe('reset');
    const written = joined(to.written);
    expect(written.length).toBeGreaterThan(0);
    expect(text(written) === text(bytes.subarray(0, written.length))).toBe(true);
  });
});
