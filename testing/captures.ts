/**
 * The recorded connections of a real QEMU in test/fixtures/captures, and what is known of them.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('../test/fixtures/captures/', import.meta.url));

export type ConnectionKind = 'main' | 'main-resumed' | 'preempt' | 'multifd';

/** The parts of a capture's summary.json that tests compare with. */
export interface Summary {
  readonly connections: readonly { conn: number; kind: ConnectionKind; s2d_bytes: number; d2s_bytes: number }[];
  readonly config: {
    machine: string;
    globalstate?: string;
    subsections: Record<string, { caps?: string[]; uuid?: string; bits?: number }>;
  };
  readonly counts: Record<string, number>;
  readonly commands_in_order: readonly {
    cmd: string;
    where: string;
    n?: number;
    ranges?: number;
    bytes?: number;
    blocks?: string[];
    block?: string;
    value?: number;
    package_bytes?: number;
    page_size_summary?: number;
    target_page_size?: number;
  }[];
  readonly return_path_in_order: readonly {
    conn: number;
    msg: string;
    value?: number;
    n?: number;
    with_id?: number;
    blocks?: Record<string, number>;
    block?: string;
    bytes?: number;
    received?: number;
  }[];
  readonly multifd?: readonly {
    conn: number;
    id: number;
    uuid: string;
    packets: number;
    pages: number;
    zero_pages: number;
    sync: number;
    page_alloc: number[];
  }[];
  readonly blocks: Record<string, { size: number; pages: number; records: Record<string, number>; sha256: string }>;
  readonly devices: readonly {
    idstr: string;
    instance: number;
    version: number;
    section: number;
    size: number;
    in: string;
  }[];
  readonly truncated: readonly { conn: number; at: number; of: number; dir?: string }[];
}

export interface Capture {
  readonly name: string;
  readonly summary: Summary;
  /** What the source sent on connection `conn`. */
  fromSource(conn: number): Uint8Array;
  /** What the destination sent on connection `conn`. */
  fromDestination(conn: number): Uint8Array;
}

/** Every capture, by name. */
export function captures(): Capture[] {
  const names = readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return names.map((entry) => capture(entry.name)).sort((a, b) => (a.name < b.name ? -1 : 1));
}

export function capture(name: string): Capture {
  const read = (file: string) => readFileSync(`${root}${name}/${file}`);
  return {
    name,
    summary: JSON.parse(read('summary.json').toString()) as Summary,
    fromSource: (conn) => plain(gunzipSync(read(`conn${conn}.s2d.bin.gz`))),
    fromDestination: (conn) => plain(gunzipSync(read(`conn${conn}.d2s.bin.gz`))),
  };
}

function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}
