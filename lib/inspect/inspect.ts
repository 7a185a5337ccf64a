/**
 * A recorded connection of a migration, read from its first byte to its last in memory that does not grow
 * with it: what it holds, and whether it is whole.
 */
import type { DemandChannel, StreamContext } from '../wire/decode.js';
import type { MultifdRecord, ReturnPathMessageRecord, StreamRecord } from '../wire/messages.js';
import { MultifdDecoder } from '../wire/multifd.js';
import { DEFAULT_TARGET_PAGE_SIZE } from '../wire/protocol.js';
import { ReturnPathDecoder } from '../wire/return-path.js';
import type { ByteSource } from './byte-source.js';
import { type ChannelKind, HEAD_BYTES, recognize } from './channel-kind.js';
import { type MultifdParts, MultifdSummary } from './multifd-summary.js';
import { RecordLog } from './record-log.js';
import { type ReturnPathParts, ReturnPathSummary } from './return-path-summary.js';
import { StreamRecords } from './stream-records.js';
import { type StreamParts, StreamSummary } from './stream-summary.js';
import { type End, unreadable, verdictOf } from './verdict.js';
import { type RecordDecoder, walk } from './walk.js';
import { Window } from './window.js';

export interface InspectOptions {
  /** What the main connection of the same migration told; see {@link readContext}. */
  readonly context?: StreamContext;
  /** Takes a line for each record. */
  readonly onRecord?: (line: string) => void;
  /** Called after each read, and waited for. */
  readonly onRead?: () => Promise<void> | void;
}

interface Common {
  /** Whether the recording was packed; all offsets and lengths are of what it unpacks to. */
  readonly gzip: boolean;
  /** Bytes that were decoded: all of them, unless it ends early or is broken. */
  readonly bytes: number;
  readonly end: End;
}

export type StreamKind = Exclude<ChannelKind, 'multifd' | 'return-path'>;
export type StreamInspection = Common & { readonly content: 'stream'; readonly kind: StreamKind } & StreamParts;
export type ReturnPathInspection = Common & {
  readonly content: 'messages';
  readonly kind: 'return-path';
} & ReturnPathParts;
export type MultifdInspection = Common & { readonly content: 'packets'; readonly kind: 'multifd' } & MultifdParts;
export type UnreadableInspection = Common & {
  readonly content: 'nothing';
  readonly kind: 'unrecognized' | 'main-resumed' | DemandChannel;
};

export type Inspection = StreamInspection | ReturnPathInspection | MultifdInspection | UnreadableInspection;

/** Why the other connections of a migration are not read alone. */
const whyMain = {
  'main-resumed':
    'this is the main connection of a recovery, which goes on with the RAM blocks and sections of the one before: ' +
    'give the recording of that one too (--main)',
  preempt:
    'this is a preempt channel, which names RAM blocks that its main connection lists: ' +
    'give the recording of that one too (--main)',
  lane:
    'this is a lane, which names RAM blocks that its main connection lists: ' +
    'give the recording of that one too (--main)',
};

/** One recording on its way through. */
interface Run {
  readonly source: ByteSource;
  readonly window: Window;
  readonly context: StreamContext | undefined;
  readonly log: RecordLog | undefined;
  readonly between: () => Promise<void> | void;
}

function begin(source: ByteSource, { context, onRecord, onRead }: InspectOptions): Run {
  const pageSize = context?.targetPageSize ?? DEFAULT_TARGET_PAGE_SIZE;
  const log = onRecord === undefined ? undefined : new RecordLog(onRecord, pageSize);
  return { source, window: new Window(), context, log, between: onRead ?? (() => {}) };
}

/**
 * Reads the whole recording; the source stays open. Whatever the bytes are, there is a verdict.
 * @throws MigrationError BAD_ARGUMENT where the source can't be read
 */
export async function inspect(source: ByteSource, options: InspectOptions = {}): Promise<Inspection> {
  const run = begin(source, options);
  const { window } = run;
  try {
    while (window.length < HEAD_BYTES && (await window.fill(source, HEAD_BYTES)));
  } catch (error) {
    const standing = { recordOffset: 0, readOffset: 0, ended: false, packageEnd: Number.POSITIVE_INFINITY };
    return nothing(run, 'unrecognized', verdictOf(error, { ...standing, within: null }));
  }
  const recognized = recognize(window.bytes.subarray(0, Math.min(HEAD_BYTES, window.end)));
  switch (recognized.kind) {
    case 'unrecognized':
      return nothing(run, 'unrecognized', unreadable(`this is ${recognized.looksLike}`));
    case 'return-path':
      return inspectReturnPath(run);
    case 'multifd':
      return inspectMultifd(run);
    case 'main':
      return (await inspectStream({ ...run, context: undefined }, 'main')).inspection;
    default:
      if (run.context === undefined) return nothing(run, recognized.kind, unreadable(whyMain[recognized.kind]));
      return (await inspectStream(run, recognized.kind)).inspection;
  }
}

/** Reads the recording of a main connection for what the migration's other connections build on. */
export async function readContext(source: ByteSource, onRead?: InspectOptions['onRead']): Promise<StreamContext> {
  const run = begin(source, onRead === undefined ? {} : { onRead });
  return (await inspectStream(run, 'main')).context;
}

function nothing({ source }: Run, kind: UnreadableInspection['kind'], end: End): UnreadableInspection {
  return { content: 'nothing', kind, gzip: source.gzip, bytes: 0, end };
}

async function inspectStream(
  { source, window, between, context, log }: Run,
  kind: StreamKind,
): Promise<{ readonly inspection: StreamInspection; readonly context: StreamContext }> {
  const decoder = new StreamRecords({
    ...(kind === 'main-resumed' ? { resumed: true } : {}),
    ...(isDemandChannel(kind) ? { channel: kind } : {}),
    ...(context === undefined ? {} : { context }),
  });
  const summary = new StreamSummary(context);
  if (kind === 'preempt') summary.uses('postcopy-preempt');
  const take = (record: StreamRecord) => {
    const { recordOffset, offset, packaged } = decoder;
    if (record.type === 'page') summary.page(record, recordOffset);
    else summary.take(record, recordOffset, offset, packaged, window.bytes);
    log?.take(record, recordOffset, packaged);
  };
  const walked = await walk({ decoder, source, window, take, between, within: () => summary.within() });
  log?.end();
  const parts = summary.parts();
  const endless = isDemandChannel(kind) && walked.verdict === 'complete' && parts.counts.EOS === undefined;
  const end = endless ? withoutEos(walked, kind) : walked;
  const common = { gzip: source.gzip, bytes: decoder.offset };
  const inspection = { content: 'stream', kind, ...common, ...parts, end } as const;
  return { inspection, context: decoder.context() };
}

const channelNames: Readonly<Record<DemandChannel, string>> = { preempt: 'preempt channel', lane: 'lane' };

const isDemandChannel = (kind: StreamKind): kind is DemandChannel => kind in channelNames;

/** Such a channel may stop behind any page, but only a source that is done says EOS. */
function withoutEos(end: End, kind: DemandChannel): End {
  return { ...end, verdict: 'cut', record: channelNames[kind], detail: 'the recording ends without EOS' };
}

/** Takes a connection that has neither sections nor packages through its decoder. */
function walkPlain<R extends ReturnPathMessageRecord | MultifdRecord>(
  { source, window, between, log }: Run,
  decoder: RecordDecoder<R>,
  summary: { take(record: R, offset: number): void },
): Promise<End> {
  const take = (record: R) => {
    summary.take(record, decoder.recordOffset);
    log?.take(record, decoder.recordOffset);
  };
  return walk({ decoder, source, window, take, between, within: () => null });
}

async function inspectReturnPath(run: Run): Promise<ReturnPathInspection> {
  const decoder = new ReturnPathDecoder();
  const summary = new ReturnPathSummary();
  const end = await walkPlain(run, decoder, summary);
  const common = { gzip: run.source.gzip, bytes: decoder.offset };
  return { content: 'messages', kind: 'return-path', ...common, ...summary.parts(), end };
}

async function inspectMultifd(run: Run): Promise<MultifdInspection> {
  const { context } = run;
  const decoder = new MultifdDecoder(context === undefined ? {} : { targetPageSize: context.targetPageSize });
  const summary = new MultifdSummary(context);
  const end = await walkPlain(run, decoder, summary);
  const common = { gzip: run.source.gzip, bytes: decoder.offset };
  return { content: 'packets', kind: 'multifd', ...common, ...summary.parts(), end };
}
