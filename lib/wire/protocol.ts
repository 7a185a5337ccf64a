/**
 * QEMU's migration protocol: every number that goes over the wire, once, and the layouts they stand in.
 *
 * Pure data; any thread. Invariants: no wire number is written anywhere else; code 0 is no command and no
 * return-path message; whoever decodes looks lengths up here before it reads a payload.
 *
 * All integers are big-endian. `str` is a u8 length and that many bytes, 1 to 255, printable ASCII.
 *
 * A postcopy migration, main channel to the right, return path to the left:
 *
 *     source                                             destination
 *       │ header, configuration ─────────────────────────────► │
 *       │ OPEN_RETURN_PATH, PING 1 ──────────────────────────► │
 *       │ ◄─────────────────────────────────────────── PONG 1  │
 *       │ POSTCOPY_ADVISE ───────────────────────────────────► │ userfaultfd is tried out
 *       │ START ram: block list ─────────────────────────────► │
 *       │ PART ram: pages … (precopy passes) ────────────────► │ pages written straight to RAM
 *       │ guest stops                                          │
 *       │ POSTCOPY_RAM_DISCARD … ────────────────────────────► │ stale pages become missing
 *       │ PING 2 ────────────────────────────────────────────► │
 *       │ PACKAGED ┌ POSTCOPY_LISTEN ────────────────────────► │ RAM registered, fault thread starts
 *       │          │ FULL device sections                      │ devices loaded from the package
 *       │          │ PING 3                                    │
 *       │          └ POSTCOPY_RUN                              │ guest starts
 *       │ PING 4 ────────────────────────────────────────────► │
 *       │ ◄────────────────────────── REQ_PAGES_ID, REQ_PAGES  │ a vCPU touched a missing page
 *       │ PART ram: requested pages first, then the rest ────► │ pages placed
 *       │ END ram, EOF ──────────────────────────────────────► │
 *       │ ◄─────────────────────────────────────────── SHUT 0  │
 *
 * The stream, and its records:
 *
 *     stream         header [configuration] record* EOF [vmdescription]
 *     package        record*                              (inside PACKAGED, no header and no EOF)
 *     preempt        ram record*                          (second connection, no framing at all)
 *     resumed        record* EOF                          (new main connection of a recovery)
 *
 *     header         ┌ u32 'QEVM' ┬ u32 version 3 ┐
 *     configuration  ┌ u8 07 ┬ u32 n ┬ n bytes machine ┬ subsection* ┐
 *       subsection   ┌ u8 05 ┬ str name ┬ u32 version 1 ┬ body ┐
 *                      configuration/capabilities       u32 count, str*
 *                      configuration/target-page-bits   u32
 *                      configuration/uuid               16 bytes
 *     START, FULL    ┌ u8 01|04 ┬ u32 id ┬ str idstr ┬ u32 instance ┬ u32 version ┬ body ┬ footer ┐
 *     PART, END      ┌ u8 02|03 ┬ u32 id ┬ body ┬ footer ┐
 *       footer       ┌ u8 7e ┬ u32 id ┐
 *     EOF            ┌ u8 00 ┐
 *     vmdescription  ┌ u8 06 ┬ u32 n ┬ n bytes JSON ┐
 *     COMMAND        ┌ u8 08 ┬ u16 code ┬ u16 length ┬ payload ┐
 *
 *     body of "ram"  ram record*, the last of them EOS. Any other body is opaque and has no length: it
 *                    ends where its footer is followed by something that can start a record.
 *
 * A ram record begins with one word, `offset in block | flags`; the flags lie below the target page size:
 *
 *     MEM_SIZE       ┌ u64 total|04 ┬ ( str idstr ┬ u64 used length [┬ u64 page size] [┬ u64 address] )* ┐
 *                      page size: postcopy advised and not the host's page size; address: x-ignore-shared
 *     ZERO           ┌ u64 offset|02 ┬ str idstr ┬ u8 fill ┐               (no idstr with CONTINUE 20:
 *     PAGE           ┌ u64 offset|08 ┬ str idstr ┬ target page ┐            the block of the page before
 *     XBZRLE         ┌ u64 offset|40 ┬ str idstr ┬ u8 01 ┬ u16 n ┬ n bytes ┐    on this connection)
 *     COMPRESS_PAGE  ┌ u64 offset|100 ┬ str idstr ┬ u32 n ┬ n bytes zlib ┐
 *     EOS            ┌ u64 10 ┐
 *     MULTIFD_FLUSH  ┌ u64 200 ┐
 *     run, of ours   ┌ u64 offset|800|(08 or 02) ┬ str idstr ┬ u32 pages ┐, then for 08 so many target pages
 *                      only behind a PING RUNS, and where the destination has answered PONG_RUNS too
 *
 * Command payloads that are more than a number:
 *
 *     POSTCOPY_ADVISE       nothing, or ┌ u64 page sizes of all blocks, or-ed ┬ u64 target page size ┐
 *     POSTCOPY_RAM_DISCARD  ┌ u8 version 0 ┬ str idstr ┬ u8 0 ┬ ( u64 start ┬ u64 length )* ┐
 *     PACKAGED              ┌ u32 n ┐, then n bytes of package after the command
 *     RECV_BITMAP           ┌ str idstr ┐
 *
 * The return path, from the destination:
 *
 *     message        ┌ u16 code ┬ u16 length ┬ payload ┐
 *     REQ_PAGES      ┌ u64 start ┬ u32 length ┐             block: that of the last REQ_PAGES_ID
 *     REQ_PAGES_ID   ┌ u64 start ┬ u32 length ┬ str idstr ┐
 *     RECV_BITMAP    ┌ str idstr ┐, then outside the frame ┌ u64 n ┬ n bytes ┬ u64 end mark ┐
 *                    bit i of the little-endian bitmap is target page i, 1 once received; n is a multiple of 8
 *
 * A data channel of multifd, from the source: its opening, then packets.
 *
 *     opening        ┌ u32 11223344 ┬ u32 version 1 ┬ 16 bytes uuid ┬ u8 channel ┬ 39 reserved ┐
 *     packet         ┌ u32 11223344 ┬ u32 version 1 ┬ u32 flags ┬ u32 offsets ┬ u32 normal pages ┬ u32 n
 *                    ┬ u64 number ┬ u32 zero pages ┬ 28 reserved ┬ 256 bytes block, padded with zeroes
 *                    ┬ u64 offset in block * offsets ┬ n bytes of the normal pages ┐
 *                    the normal pages' offsets come first, then those of zero pages, then unused ones;
 *                    without normal pages n says nothing, and no bytes follow
 */

/** 'QEVM'. */
export const STREAM_MAGIC = 0x5145564d;
export const STREAM_VERSION = 3;

export const SectionType = {
  EOF: 0x00,
  START: 0x01,
  PART: 0x02,
  END: 0x03,
  FULL: 0x04,
  SUBSECTION: 0x05,
  VMDESCRIPTION: 0x06,
  CONFIGURATION: 0x07,
  COMMAND: 0x08,
  FOOTER: 0x7e,
} as const;

export type SectionTypeName = keyof typeof SectionType;

/** The idstr of the one section whose body this codec understands. */
export const RAM_SECTION = 'ram';

export const Subsection = {
  CAPABILITIES: 'configuration/capabilities',
  TARGET_PAGE_BITS: 'configuration/target-page-bits',
  UUID: 'configuration/uuid',
} as const;

export const SUBSECTION_VERSION = 1;

/** With this capability the block list carries addresses, and shared blocks are not sent. */
export const CAPABILITY_IGNORE_SHARED = 'x-ignore-shared';
/** With this capability the block list carries a layout header, which this codec does not read. */
export const CAPABILITY_MAPPED_RAM = 'mapped-ram';

/** What a payload's length may be: just this, one of these, or anything between two bounds, in bytes. */
export type LengthRule = number | readonly number[] | { readonly min: number; readonly max: number };

/** Whether `length` is one that `rule` allows. */
export function lengthAllowed(rule: LengthRule, length: number): boolean {
  if (typeof rule === 'number') return length === rule;
  return 'min' in rule ? length >= rule.min && length <= rule.max : rule.includes(length);
}

export const Command = {
  OPEN_RETURN_PATH: 1,
  PING: 2,
  POSTCOPY_ADVISE: 3,
  POSTCOPY_LISTEN: 4,
  POSTCOPY_RUN: 5,
  POSTCOPY_RAM_DISCARD: 6,
  PACKAGED: 7,
  ENABLE_COLO: 8,
  POSTCOPY_RESUME: 9,
  RECV_BITMAP: 10,
  SWITCHOVER_START: 11,
} as const;

export type CommandName = keyof typeof Command;

/** What the code of a command or of a return-path message stands for. */
export interface CodeEntry<Name extends string> {
  readonly name: Name;
  readonly length: LengthRule;
}

const U16_MAX = 0xffff;

const commandLengths: Readonly<Record<CommandName, LengthRule>> = {
  OPEN_RETURN_PATH: 0,
  PING: 4,
  POSTCOPY_ADVISE: [0, 16],
  POSTCOPY_LISTEN: 0,
  POSTCOPY_RUN: 0,
  POSTCOPY_RAM_DISCARD: { min: 4, max: U16_MAX },
  PACKAGED: 4,
  ENABLE_COLO: 0,
  POSTCOPY_RESUME: 0,
  RECV_BITMAP: { min: 2, max: 256 },
  SWITCHOVER_START: 0,
};

/** Code → name and payload length. Code 0, and any other that is missing, is invalid. */
export const commands: ReadonlyMap<number, CodeEntry<CommandName>> = byCode(Command, commandLengths);

export const ReturnPathMessage = {
  SHUT: 1,
  PONG: 2,
  REQ_PAGES_ID: 3,
  REQ_PAGES: 4,
  RECV_BITMAP: 5,
  RESUME_ACK: 6,
  SWITCHOVER_ACK: 7,
} as const;

export type ReturnPathMessageName = keyof typeof ReturnPathMessage;

const returnPathLengths: Readonly<Record<ReturnPathMessageName, LengthRule>> = {
  SHUT: 4,
  PONG: 4,
  REQ_PAGES_ID: { min: 14, max: 268 },
  REQ_PAGES: 12,
  RECV_BITMAP: { min: 2, max: 256 },
  RESUME_ACK: 4,
  SWITCHOVER_ACK: 0,
};

/** Code → name and payload length. Code 0, and any other that is missing, is invalid. */
export const returnPathMessages: ReadonlyMap<number, CodeEntry<ReturnPathMessageName>> = byCode(
  ReturnPathMessage,
  returnPathLengths,
);

function byCode<Name extends string>(
  codes: Readonly<Record<Name, number>>,
  lengths: Readonly<Record<Name, LengthRule>>,
): ReadonlyMap<number, CodeEntry<Name>> {
  const names = Object.keys(codes) as Name[];
  return new Map(names.map((name) => [codes[name], { name, length: lengths[name] }]));
}

/** Flags of a ram record, in the low bits of its first word. */
export const RamFlag = {
  ZERO: 0x02,
  MEM_SIZE: 0x04,
  PAGE: 0x08,
  EOS: 0x10,
  CONTINUE: 0x20,
  XBZRLE: 0x40,
  HOOK: 0x80,
  COMPRESS_PAGE: 0x100,
  MULTIFD_FLUSH: 0x200,
} as const;

/**
 * A flag of ours, with PAGE or ZERO: the record is of many neighbouring pages. It lies below our own target page of
 * 4 KiB. Flags of QEMU's lie below its smallest one, 1 KiB, so it will never be one of them.
 */
export const RUN_FLAG = 0x800;

/** The only encoding an XBZRLE record may name. */
export const XBZRLE_ENCODING = 1;

/** The values a source puts in its PINGs, named by when it sends them. All but DISCARDED are QEMU's. */
export const Ping = {
  /** When the return path has been opened. */
  SETUP: 1,
  /** After the discards, when the guest has stopped. */
  STOPPED: 2,
  /** Inside the package, after the device sections. */
  PACKAGE: 3,
  /** Behind the package. */
  AFTER_PACKAGE: 4,
  /** Just before POSTCOPY_RUN, from newer sources; they stay in postcopy-device until its PONG. */
  SWITCHOVER: 0x42,
  /** Ours, plus the round: behind discards sent while the guest still runs; the PONG says that they are done. */
  DISCARDED: 0x100,
  /** Ours, plus a count: behind a step of background pages; the PONG says that they are placed. */
  PLACED: 0x10000,
  /** Ours, behind SETUP: whether runs of pages are understood. Any destination answers it; one of ours says more. */
  RUNS: 0x52554e53,
  /** Ours, plus a count from 1 to {@link MAX_LANES}: so many lanes the source would open. */
  LANES: 0x4c4e4500,
} as const;

/** What a destination of ours says in a PONG of its own, behind that for Ping.RUNS: it understands runs of pages. */
export const PONG_RUNS = 0x52554e54;

/**
 * Plus a count from 1 to that of the ping: what a destination of ours says in a PONG of its own, ahead of that for
 * Ping.LANES. So many lanes it takes.
 */
export const PONG_LANES = 0x4c4e4600;

/** The most lanes of one migration: connections on which pages are asked for and sent. */
export const MAX_LANES = 16;

/** The first word that a source sends on a lane: "PCLN". */
export const LANE_MAGIC = 0x50434c4e;

export const DISCARD_VERSION = 0;
/** Ranges in one POSTCOPY_RAM_DISCARD that is sent. One that is received may hold all that fit its length. */
export const MAX_DISCARD_RANGES = 12;

/** Bytes of the bitmap in a RECV_BITMAP message for a block of so many target pages. */
export function receivedBitmapBytes(pages: number): number {
  return 8 * Math.ceil(pages / 64);
}

/** Ends the bitmap of a RECV_BITMAP message: the u64 0x0123456789abcdef, as two halves. */
export const BITMAP_END_MARK = { high: 0x01234567, low: 0x89abcdef } as const;

/** Begins a data channel of multifd, and each of its packets. */
export const MULTIFD_MAGIC = 0x11223344;
export const MULTIFD_VERSION = 1;

/** Flags of a multifd packet. COMPRESSION is a field; its values are in {@link multifdCompressions}. */
export const MultifdFlag = {
  /** The last packet of this channel before all channels and the main one wait for each other. */
  SYNC: 0x01,
  COMPRESSION: 0x3e,
  /** A part of a device's state instead of pages, from newer sources; its packet is laid out differently. */
  DEVICE_STATE: 0x40,
} as const;

/** What the COMPRESSION field, shifted down, stands for. */
export const multifdCompressions: ReadonlyMap<number, string> = new Map([
  [0, 'none'],
  [1, 'zlib'],
  [2, 'zstd'],
  [4, 'qpl'],
  [8, 'uadk'],
  [16, 'qatzip'],
]);

/** Bytes of a multifd channel's opening, of a packet before its offsets, and of the block's name in it. */
export const MULTIFD_OPENING_BYTES = 64;
export const MULTIFD_PACKET_BYTES = 320;
export const MULTIFD_NAME_BYTES = 256;

/** The value of SHUT that reports success, and the only one of RESUME_ACK. */
export const SHUT_SUCCESS = 0;
export const RESUME_ACK_VALUE = 1;

/** Longest name that fits its u8 length, in bytes. */
export const MAX_IDSTR_BYTES = 255;

export const DEFAULT_TARGET_PAGE_SIZE = 4096;
export const DEFAULT_HOST_PAGE_SIZE = 4096;
/** The flags of a ram record must fit below the target page size, so it has at least 10 bits. */
export const TARGET_PAGE_BITS = { min: 10, max: 16 } as const;

/** What a decoder accepts at most, unless its options say otherwise. */
export const defaultLimits = {
  /** RAM blocks in the block list. */
  maxBlocks: 1024,
  /** Different section ids. */
  maxSections: 4096,
  /** Bytes in one opaque device body. */
  maxDeviceBytes: 64 * 2 ** 20,
  /** Bytes in one package. */
  maxPackageBytes: 64 * 2 ** 20,
  /** Bytes of the VM description. */
  maxVmDescriptionBytes: 16 * 2 ** 20,
  /** Bytes of the machine's name. */
  maxMachineNameBytes: 255,
  /** Capabilities in the configuration. */
  maxCapabilities: 256,
  /** Bytes of one received bitmap on the return path; 64 MiB stand for 2 TiB of 4 KiB pages. */
  maxBitmapBytes: 64 * 2 ** 20,
  /** Offsets in one multifd packet; sources send 128 for 4 KiB pages. */
  maxMultifdPages: 1024,
} as const;

export type Limits = { readonly [Name in keyof typeof defaultLimits]: number };
