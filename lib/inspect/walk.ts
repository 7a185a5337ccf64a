/** Takes a recording through its decoder, a window at a time, to a verdict. */
import type { ByteSource } from './byte-source.js';
import { complete, type End, verdictOf } from './verdict.js';
import type { Window } from './window.js';

/** What the decoders of lib/wire have in common. */
export interface RecordDecoder<R> {
  readonly consumed: number;
  readonly needed: number;
  readonly offset: number;
  readonly recordOffset: number;
  /** Of the package that is open, where there are packages. */
  readonly packageEnd?: number;
  next(bytes: Uint8Array, view: DataView, start: number, end: number): R | undefined;
  endOfInput(): void;
}

export interface Walk<R> {
  readonly decoder: RecordDecoder<R>;
  readonly source: ByteSource;
  /** Holds the first bytes of the recording. */
  readonly window: Window;
  /** Called with each record; its data lies in the window until this returns. */
  readonly take: (record: R) => void;
  /** Called between two reads, and waited for: the place to say how far it is and to write out. */
  readonly between: () => Promise<void> | void;
  /** The section or package that is open, for the verdict. */
  readonly within: () => string | null;
}

/** Decodes all of the recording. Throws only what is not about its bytes. */
export async function walk<R>({ decoder, source, window, take, between, within }: Walk<R>): Promise<End> {
  let ended = false;
  try {
    for (;;) {
      drain(decoder, window, take);
      await between();
      if (ended) return complete(decoder.offset);
      ended = !(await window.fill(source, decoder.needed));
      if (ended) decoder.endOfInput();
    }
  } catch (error) {
    return verdictOf(error, {
      recordOffset: decoder.recordOffset,
      readOffset: decoder.offset + window.length,
      ended,
      packageEnd: decoder.packageEnd ?? Number.POSITIVE_INFINITY,
      within: within(),
    });
  }
}

function drain<R>(decoder: RecordDecoder<R>, window: Window, take: (record: R) => void): void {
  const { bytes, view, end } = window;
  for (;;) {
    const record = decoder.next(bytes, view, window.start, end);
    if (record === undefined) return;
    window.start += decoder.consumed;
    take(record);
  }
}
