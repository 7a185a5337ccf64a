/**
 * What decoders return: one record or message each, told apart by `type` (and `command`).
 *
 * Types only. Offsets, lengths and sizes are in bytes and exact up to 2^53. `dataStart` is an index into
 * the bytes that were given to `next()`, and holds only as long as the caller keeps those bytes in place.
 */

/** A RAM block as the block list announces it. */
export interface RamBlockEntry {
  /** Position in the block list, from 0. */
  readonly index: number;
  readonly idstr: string;
  /** A multiple of the target page size, above 0. */
  readonly usedLength: number;
  /** Present where the stream gives it: the block's page size, a power of two. */
  readonly pageSize?: number;
  /** Present with x-ignore-shared: the block's guest physical address. */
  readonly address?: number;
}

/** A section as START or FULL announces it. */
export interface SectionEntry {
  readonly id: number;
  readonly idstr: string;
  readonly instanceId: number;
  readonly versionId: number;
}

export interface HeaderRecord {
  readonly type: 'header';
  readonly version: number;
}

export interface ConfigurationRecord {
  readonly type: 'configuration';
  readonly machine: string;
  readonly capabilities?: readonly string[];
  readonly targetPageBits?: number;
  /** Lower-case, with dashes. */
  readonly uuid?: string;
}

export interface SectionStartRecord extends SectionEntry {
  readonly type: 'section-start';
  readonly kind: 'START' | 'FULL';
}

export interface SectionPartRecord {
  readonly type: 'section-part';
  readonly kind: 'PART' | 'END';
  readonly id: number;
  readonly idstr: string;
}

/** The footer of the section, found right. */
export interface SectionEndRecord {
  readonly type: 'section-end';
  readonly id: number;
  readonly idstr: string;
}

export interface EofRecord {
  readonly type: 'eof';
}

export interface VmDescriptionRecord {
  readonly type: 'vmdescription';
  /** As sent; not parsed. */
  readonly json: string;
}

export interface RamBlocksRecord {
  readonly type: 'ram-blocks';
  /** Sum of the used lengths. */
  readonly total: number;
  readonly blocks: readonly RamBlockEntry[];
}

export type PageKind = 'normal' | 'zero' | 'xbzrle' | 'compressed';

/**
 * One target page. `normal`: the data is the page. `zero`: no data, the page is `fill` throughout.
 * `xbzrle`, `compressed`: the data is the encoded page, not unpacked.
 *
 * A decoder returns the same object for every page, changed: copy what must outlast the next call.
 */
export interface PageRecord {
  readonly type: 'page';
  readonly kind: PageKind;
  readonly block: RamBlockEntry;
  /** Where in the block: a multiple of the target page size, the whole page inside the used length. */
  readonly offset: number;
  /** 0 to 255; 0 unless the kind is `zero`. */
  readonly fill: number;
  readonly dataStart: number;
  readonly dataLength: number;
}

/**
 * The begin of a run between two of our own: its pages follow, each as a page record, those of a `zero` run without
 * any bytes of the stream. Or whoever reads the stream takes them itself: `StreamDecoder.takeRun`.
 */
export interface PageRunRecord {
  readonly type: 'page-run';
  readonly kind: 'normal' | 'zero';
  readonly block: RamBlockEntry;
  /** Of the first page in the block: a multiple of the target page size, the whole run inside the used length. */
  readonly offset: number;
  /** At least 1. */
  readonly pages: number;
}

export interface RamEosRecord {
  readonly type: 'ram-eos';
}

/** The begin of a lane. */
export interface LaneGreetingRecord {
  readonly type: 'lane-greeting';
}

export interface MultifdFlushRecord {
  readonly type: 'multifd-flush';
}

export interface DiscardRange {
  readonly start: number;
  readonly length: number;
}

export type CommandRecord = { readonly type: 'command' } & (
  | {
      readonly command:
        | 'OPEN_RETURN_PATH'
        | 'POSTCOPY_LISTEN'
        | 'POSTCOPY_RUN'
        | 'ENABLE_COLO'
        | 'POSTCOPY_RESUME'
        | 'SWITCHOVER_START';
    }
  | { readonly command: 'PING'; readonly value: number }
  /** Both sizes or, where only other devices than RAM do postcopy, neither. */
  | { readonly command: 'POSTCOPY_ADVISE'; readonly pageSizeSummary?: number; readonly targetPageSize?: number }
  /** Every range is inside the block, target-page aligned and not empty. */
  | { readonly command: 'POSTCOPY_RAM_DISCARD'; readonly idstr: string; readonly ranges: readonly DiscardRange[] }
  /** The next `length` bytes are the package; see `StreamDecoder.package`. */
  | { readonly command: 'PACKAGED'; readonly length: number }
  | { readonly command: 'RECV_BITMAP'; readonly idstr: string }
);

/**
 * A piece of an opaque section body: the pieces of a body in order, the last one (maybe empty) marked. The
 * u32 length of a self-sized body is a part of it.
 */
export interface DeviceDataRecord {
  readonly type: 'device-data';
  readonly id: number;
  readonly idstr: string;
  readonly dataStart: number;
  readonly dataLength: number;
  readonly last: boolean;
}

export type StreamRecord =
  | HeaderRecord
  | ConfigurationRecord
  | SectionStartRecord
  | SectionPartRecord
  | SectionEndRecord
  | EofRecord
  | VmDescriptionRecord
  | RamBlocksRecord
  | PageRecord
  | PageRunRecord
  | RamEosRecord
  | LaneGreetingRecord
  | MultifdFlushRecord
  | CommandRecord
  | DeviceDataRecord;

export type ReturnPathMessageRecord =
  /** 0 on success. */
  | { readonly type: 'SHUT'; readonly value: number }
  | { readonly type: 'PONG'; readonly value: number }
  /** `idstr` is there in a REQ_PAGES_ID; without it the block is the one named last. Not checked against RAM. */
  | { readonly type: 'REQ_PAGES'; readonly start: number; readonly length: number; readonly idstr?: string }
  /** A copy; bit i % 8 of byte i / 8 is target page i. */
  | { readonly type: 'RECV_BITMAP'; readonly idstr: string; readonly bitmap: Uint8Array }
  | { readonly type: 'RESUME_ACK'; readonly value: number }
  | { readonly type: 'SWITCHOVER_ACK' };

/** How a data channel of multifd begins. */
export interface MultifdOpeningRecord {
  readonly type: 'multifd-opening';
  readonly version: number;
  /** The source's, all zeroes where it has none. Lower-case, with dashes. */
  readonly uuid: string;
  readonly channel: number;
}

/** A packet of a multifd channel. Its block is not checked against RAM. */
export interface MultifdPacketRecord {
  readonly type: 'multifd-packet';
  readonly sync: boolean;
  /** One of `multifdCompressions`; `none`: the data is the normal pages, in the order of their offsets. */
  readonly compression: string;
  readonly packetNumber: number;
  /** Empty in a packet without pages. */
  readonly idstr: string;
  /** Where in the block, a multiple of the target page size. */
  readonly normal: readonly number[];
  readonly zero: readonly number[];
  /** How many offsets the packet has room for. */
  readonly pagesAllocated: number;
  readonly dataStart: number;
  readonly dataLength: number;
}

export type MultifdRecord = MultifdOpeningRecord | MultifdPacketRecord;
