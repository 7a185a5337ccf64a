/**
 * One line a record, with its offset. Neighbouring pages of one kind share a line: their first page and
 * how many there are.
 */
import type { MultifdRecord, PageRecord, ReturnPathMessageRecord, StreamRecord } from '../wire/messages.js';
import { recordName } from './stream-summary.js';

type AnyRecord = StreamRecord | MultifdRecord | ReturnPathMessageRecord;

interface PageRun {
  readonly offset: number;
  readonly packaged: boolean;
  readonly kind: PageRecord['kind'];
  readonly idstr: string;
  readonly first: number;
  /** The page behind the last one. */
  next: number;
  count: number;
}

const hex = (value: number): string => `0x${value.toString(16)}`;

export class RecordLog {
  readonly #write: (line: string) => void;
  #pageSize: number;
  #run: PageRun | undefined;

  constructor(write: (line: string) => void, pageSize: number) {
    this.#write = write;
    this.#pageSize = pageSize;
  }

  take(record: AnyRecord, offset: number, packaged = false): void {
    if (record.type === 'page') {
      this.#page(record, offset, packaged);
      return;
    }
    if (record.type === 'page-run') return; // its pages follow, which are told together
    this.end();
    if (record.type === 'configuration' && record.targetPageBits !== undefined)
      this.#pageSize = 2 ** record.targetPageBits;
    this.#line(offset, packaged, describe(record));
  }

  /** Writes what is held back. */
  end(): void {
    const run = this.#run;
    if (run === undefined) return;
    this.#run = undefined;
    const pages = run.count === 1 ? '1 page' : `${run.count} pages`;
    this.#line(run.offset, run.packaged, `${run.kind} ${run.idstr} ${hex(run.first)}, ${pages}`);
  }

  #page({ kind, block, offset: page }: PageRecord, offset: number, packaged: boolean): void {
    const run = this.#run;
    if (run !== undefined && run.kind === kind && run.idstr === block.idstr && run.next === page) {
      run.next += this.#pageSize;
      run.count++;
      return;
    }
    this.end();
    const next = page + this.#pageSize;
    this.#run = { offset, packaged, kind, idstr: block.idstr, first: page, next, count: 1 };
  }

  #line(offset: number, packaged: boolean, what: string): void {
    this.#write(`${hex(offset).padStart(12)}  ${packaged ? '  ' : ''}${what}`);
  }
}

function describe(record: Exclude<AnyRecord, { type: 'page' }>): string {
  switch (record.type) {
    case 'multifd-opening':
      return `OPENING version=${record.version} uuid=${record.uuid} channel=${record.channel}`;
    case 'multifd-packet':
      return describePacket(record);
    case 'SHUT':
    case 'PONG':
    case 'RESUME_ACK':
      return `${record.type} ${record.value}`;
    case 'SWITCHOVER_ACK':
      return record.type;
    case 'REQ_PAGES':
      return record.idstr === undefined
        ? `REQ_PAGES ${hex(record.start)}+${record.length}`
        : `REQ_PAGES_ID ${record.idstr} ${hex(record.start)}+${record.length}`;
    case 'RECV_BITMAP':
      return `RECV_BITMAP ${record.idstr}, ${record.bitmap.length} bytes`;
    default:
      return [recordName(record), ...details(record)].join(' ');
  }
}

function describePacket(record: Extract<MultifdRecord, { type: 'multifd-packet' }>): string {
  const { packetNumber, sync, compression, idstr, normal, zero } = record;
  const pages = idstr === '' ? '' : ` ${idstr}, ${normal.length} normal, ${zero.length} zero`;
  const compressed = compression === 'none' ? '' : `, ${compression}`;
  return `PACKET ${packetNumber}${sync ? ' sync' : ''}${pages}${compressed}`;
}

/** What a record of the main connection says besides its name. */
function details(record: Exclude<StreamRecord, { type: 'page' }>): string[] {
  switch (record.type) {
    case 'header':
      return [`version ${record.version}`];
    case 'configuration': {
      const { machine, capabilities, targetPageBits, uuid } = record;
      return [
        machine,
        ...(capabilities ?? []).map((name) => `+${name}`),
        ...(targetPageBits === undefined ? [] : [`target-page-bits=${targetPageBits}`]),
        ...(uuid === undefined ? [] : [`uuid=${uuid}`]),
      ];
    }
    case 'section-start':
      return [`${record.idstr} id=${record.id} instance=${record.instanceId} version=${record.versionId}`];
    case 'section-part':
    case 'section-end':
      return [`${record.idstr} id=${record.id}`];
    case 'ram-blocks':
      return [`${record.blocks.length} blocks, ${record.total} bytes`];
    case 'device-data':
      return [`${record.idstr}, ${record.dataLength} bytes${record.last ? '' : ', to be continued'}`];
    case 'vmdescription':
      return [`${record.json.length} characters`];
    case 'command':
      return commandDetails(record);
    default:
      return [];
  }
}

function commandDetails(record: Extract<StreamRecord, { type: 'command' }>): string[] {
  switch (record.command) {
    case 'PING':
      return [String(record.value)];
    case 'POSTCOPY_ADVISE':
      return record.pageSizeSummary === undefined
        ? []
        : [`page sizes ${hex(record.pageSizeSummary)}, target page ${record.targetPageSize}`];
    case 'POSTCOPY_RAM_DISCARD':
      return [record.idstr, ...record.ranges.map(({ start, length }) => `${hex(start)}+${hex(length)}`)];
    case 'PACKAGED':
      return [`${record.length} bytes`];
    case 'RECV_BITMAP':
      return [record.idstr];
    default:
      return [];
  }
}
