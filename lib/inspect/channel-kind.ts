/**
 * What a recording is, by its first bytes: a connection of a migration, or what else people mistake for one.
 *
 * Pure. Only the main connection, multifd channels and our own lanes begin with a magic number; the others are
 * recognised by their first record, which their decoders then check in full.
 */
import type { DemandChannel } from '../wire/decode.js';
import {
  commands,
  LANE_MAGIC,
  lengthAllowed,
  MULTIFD_MAGIC,
  RamFlag,
  returnPathMessages,
  SectionType,
  STREAM_MAGIC,
} from '../wire/protocol.js';
import { asciiToString, isPrintable } from '../wire/text.js';

/** `main-resumed`: the main connection of a recovery. */
export type ChannelKind = 'main' | 'main-resumed' | DemandChannel | 'multifd' | 'return-path';

export type Recognized =
  | { readonly kind: ChannelKind }
  /** What it looks like instead, with its article. */
  | { readonly kind: 'unrecognized'; readonly looksLike: string };

/** As many bytes as are looked at; fewer only where the recording is shorter. */
export const HEAD_BYTES = 512;

const signatures: readonly { readonly bytes: string; readonly what: string }[] = [
  { bytes: '\x1f\x8b', what: 'a gzip file in a gzip file; unpack it once' },
  { bytes: '\x28\xb5\x2f\xfd', what: 'a zstd file; unpack it first' },
  { bytes: '\xfd7zXZ\0', what: 'an xz file; unpack it first' },
  { bytes: 'BZh', what: 'a bzip2 file; unpack it first' },
  { bytes: '\x04\x22\x4d\x18', what: 'an lz4 file; unpack it first' },
  { bytes: 'LibvirtQemudSave', what: 'a saved domain of libvirt; the stream begins behind its header, at "QEVM"' },
  { bytes: 'LibvirtQemudPart', what: 'a saved domain of libvirt that was never finished' },
  { bytes: 'QFI\xfb', what: 'a qcow2 disk image; its snapshots are read by qemu-img' },
  { bytes: '\x7fELF', what: 'an ELF file, such as a memory dump' },
  { bytes: 'KDUMP   ', what: 'a kdump memory dump' },
  { bytes: '\xa1\xb2\xc3\xd4', what: 'a packet capture; extract the connection from it' },
  { bytes: '\xd4\xc3\xb2\xa1', what: 'a packet capture; extract the connection from it' },
  { bytes: '\x0a\x0d\x0d\x0a', what: 'a packet capture; extract the connection from it' },
];

const WORD_BYTES = 8;
/** Offsets in a block that large are none. */
const MAX_HIGH_WORD = 0xffff;
const PAGE_FLAGS: readonly number[] = [RamFlag.PAGE, RamFlag.ZERO, RamFlag.COMPRESS_PAGE];
const SMALLEST_PAGE = 1024;

/** Also where the recording ends inside the magic number. */
function beginsWithMagic(view: DataView, magic: number): boolean {
  const bytes = Math.min(4, view.byteLength);
  for (let i = 0; i < bytes; i++) {
    if (view.getUint8(i) !== ((magic >>> (24 - 8 * i)) & 0xff)) return false;
  }
  return true;
}

/** Resumed, the source first asks for the received bitmaps: a command. */
function beginsWithCommand(view: DataView): boolean {
  if (view.byteLength < 5 || view.getUint8(0) !== SectionType.COMMAND) return false;
  const entry = commands.get(view.getUint16(1));
  return entry !== undefined && lengthAllowed(entry.length, view.getUint16(3));
}

function beginsWithMessage(view: DataView): boolean {
  if (view.byteLength < 4) return false;
  const entry = returnPathMessages.get(view.getUint16(0));
  return entry !== undefined && lengthAllowed(entry.length, view.getUint16(2));
}

/** The first page on a connection names its block. A preempt channel that no page was asked on has EOS alone. */
function beginsWithRamRecord(view: DataView, head: Uint8Array): boolean {
  if (view.byteLength >= WORD_BYTES && view.getUint32(0) === 0 && view.getUint32(4) === RamFlag.EOS) return true;
  if (view.byteLength <= WORD_BYTES || view.getUint32(0) > MAX_HIGH_WORD) return false;
  if (!PAGE_FLAGS.includes(view.getUint32(4) & (SMALLEST_PAGE - 1))) return false;
  const nameEnd = WORD_BYTES + 1 + view.getUint8(WORD_BYTES);
  return nameEnd > WORD_BYTES + 1 && nameEnd <= head.length && isPrintable(head, WORD_BYTES + 1, nameEnd);
}

function isText(head: Uint8Array): boolean {
  return head.every((byte) => (byte >= 0x20 && byte !== 0x7f) || (byte >= 0x09 && byte <= 0x0d) || byte === 0x1b);
}

/** `head`: the first {@link HEAD_BYTES} of the recording, or all of it. */
export function recognize(head: Uint8Array): Recognized {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length === 0) return { kind: 'unrecognized', looksLike: 'an empty file' };
  if (beginsWithMagic(view, STREAM_MAGIC)) return { kind: 'main' };
  if (beginsWithMagic(view, MULTIFD_MAGIC)) return { kind: 'multifd' };
  if (beginsWithMagic(view, LANE_MAGIC)) return { kind: 'lane' };
  for (const { bytes, what } of signatures) {
    if (asciiToString(head, 0, Math.min(bytes.length, head.length)) === bytes) {
      return { kind: 'unrecognized', looksLike: what };
    }
  }
  if (beginsWithCommand(view)) return { kind: 'main-resumed' };
  if (beginsWithMessage(view)) return { kind: 'return-path' };
  if (beginsWithRamRecord(view, head)) return { kind: 'preempt' };
  return { kind: 'unrecognized', looksLike: isText(head) ? 'text' : 'none of the connections of a migration' };
}
