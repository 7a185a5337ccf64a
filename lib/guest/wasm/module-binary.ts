/**
 * What of a WebAssembly module is state, and the module with all of that exported. Pure.
 *
 * A compiler keeps its stack pointer, and more, in globals that it does not export, and JavaScript sees nothing else.
 * So each mutable global, each table and each memory gets an export of a name of ours before the module is compiled.
 * Only the sections up to the exports are read; code and data go as they are.
 */
import { MigrationError } from '../../errors.js';
import { concatenate } from '../../memory/bytes.js';
import { BinaryError, BinaryReader, encodeU32 } from './leb128.js';

/** Types of the globals that JavaScript can read and write. */
const valueTypes = { 127: 'i32', 126: 'i64', 125: 'f32', 124: 'f64' } as const;
export type ValueType = (typeof valueTypes)[keyof typeof valueTypes];

export interface StateGlobal {
  /** The name of our export. */
  readonly name: string;
  readonly type: ValueType;
}

export interface StateMemory {
  readonly name: string;
  /** Made by whoever instantiates the module, and not by the module. */
  readonly isImported: boolean;
}

export interface StateExports {
  /** The module with our exports. */
  readonly bytes: Uint8Array;
  /** The mutable ones, in the order of their indexes. */
  readonly globals: readonly StateGlobal[];
  /** The names of our exports, in the order of the indexes. */
  readonly tables: readonly string[];
  readonly memories: readonly StateMemory[];
}

const MAGIC = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

const Section = { CUSTOM: 0, IMPORT: 2, TABLE: 4, MEMORY: 5, GLOBAL: 6, EXPORT: 7 } as const;
/** Ids of the sections that come before the exports, wherever their number stands: the one of tags among them. */
const beforeExports = new Set([0, 1, 2, 3, 4, 5, 6, 13]);

const Kind = { FUNCTION: 0, TABLE: 1, MEMORY: 2, GLOBAL: 3, TAG: 4 } as const;

/** Our exports begin so, and a colon is in no name that compilers give. */
const PREFIX = 'postcopy:';

/** Flags of limits. */
const HAS_MAXIMUM = 1;
const IS_SHARED = 2;
const IS_64_BIT = 4;
const HAS_PAGE_SIZE = 8;

interface Global {
  readonly type: number;
  readonly isMutable: boolean;
  /** How it reads in a message. */
  readonly described: string;
}

class StateFinder {
  readonly globals: Global[] = [];
  readonly exportNames = new Set<string>();
  tables = 0;
  memories = 0;
  importedMemories = 0;
  exportCount = 0;
  /** Where the entries of the export section are, behind their count; both 0 where there is none. */
  exportsFrom = 0;
  exportsEnd = 0;

  readonly #sections: Readonly<Record<number, (section: BinaryReader) => void>> = {
    [Section.IMPORT]: (section) => this.#each(section, () => this.#import(section)),
    [Section.TABLE]: (section) => this.#each(section, () => this.#table(section)),
    [Section.MEMORY]: (section) => this.#each(section, () => this.#memory(section)),
    [Section.GLOBAL]: (section) =>
      this.#each(section, () => {
        this.#global(section, `global ${this.globals.length}`);
        skipExpression(section);
      }),
    [Section.EXPORT]: (section) => this.#exports(section),
  };

  read(id: number, section: BinaryReader): void {
    this.#sections[id]?.(section);
  }

  #each(section: BinaryReader, entry: () => void): void {
    for (let count = section.u32(); count > 0; count--) entry();
    if (section.left > 0) throw new BinaryError('a section that is too long', section.at);
  }

  #import(section: BinaryReader): void {
    const name = `${section.text()}.${section.text()}`;
    const kind = section.byte();
    switch (kind) {
      case Kind.FUNCTION:
        return section.skipNumber();
      case Kind.TABLE:
        return this.#table(section);
      case Kind.MEMORY:
        this.importedMemories += 1;
        return this.#memory(section);
      case Kind.GLOBAL:
        return this.#global(section, `global ${this.globals.length} ("${name}")`);
      case Kind.TAG:
        section.byte();
        return section.skipNumber();
      default:
        throw new BinaryError(`an import of the unknown kind ${kind}`, section.at);
    }
  }

  #table(section: BinaryReader): void {
    const hasValue = section.bytes[section.at] === 0x40;
    if (hasValue) section.skip(2);
    skipType(section);
    skipLimits(section);
    if (hasValue) skipExpression(section);
    this.tables += 1;
  }

  #memory(section: BinaryReader): void {
    const flags = skipLimits(section);
    if ((flags & IS_SHARED) !== 0) throw unsupported(`memory ${this.memories} is shared between threads`);
    if ((flags & IS_64_BIT) !== 0) throw unsupported(`memory ${this.memories} has addresses of 64 bits`);
    if ((flags & HAS_PAGE_SIZE) !== 0) throw unsupported(`memory ${this.memories} has pages of its own size`);
    this.memories += 1;
  }

  #global(section: BinaryReader, described: string): void {
    const type = skipType(section);
    this.globals.push({ type, isMutable: section.byte() === 1, described });
  }

  #exports(section: BinaryReader): void {
    this.exportCount = section.u32();
    this.exportsFrom = section.at;
    this.exportsEnd = section.end;
    for (let count = this.exportCount; count > 0; count--) {
      this.exportNames.add(section.text());
      section.byte();
      section.skipNumber();
    }
  }
}

function unsupported(what: string): MigrationError {
  return new MigrationError('UNSUPPORTED', `the WebAssembly module can't be moved: ${what}`, {
    hint: 'compile it without that',
  });
}

/** A type of a value; a reference to a heap type of an index is two parts. Returns its first byte. */
function skipType(section: BinaryReader): number {
  const type = section.byte();
  if (type === 0x63 || type === 0x64) section.skipNumber();
  return type;
}

/** Returns the flags. */
function skipLimits(section: BinaryReader): number {
  const flags = section.byte();
  section.skipNumber();
  if ((flags & HAS_MAXIMUM) !== 0) section.skipNumber();
  if ((flags & HAS_PAGE_SIZE) !== 0) section.skipNumber();
  return flags;
}

const END = 0x0b;
const skipOneNumber = (section: BinaryReader): void => section.skipNumber();
const skipNothing = (): void => {};

/** What follows each instruction that a first value may be made of. */
const constantInstructions: Readonly<Record<number, (section: BinaryReader) => void>> = {
  65: skipOneNumber, // i32.const
  66: skipOneNumber, // i64.const
  67: (section) => void section.skip(4), // f32.const
  68: (section) => void section.skip(8), // f64.const
  35: skipOneNumber, // global.get
  208: skipOneNumber, // ref.null
  210: skipOneNumber, // ref.func
  106: skipNothing, // i32.add, i32.sub, i32.mul
  107: skipNothing,
  108: skipNothing,
  124: skipNothing, // i64.add, i64.sub, i64.mul
  125: skipNothing,
  126: skipNothing,
  253: (section) => {
    const at = section.at;
    if (section.u32() !== 12) throw new BinaryError('an unknown vector instruction', at); // v128.const
    section.skip(16);
  },
};

/** The instructions that give a global or a table its first value. */
function skipExpression(section: BinaryReader): void {
  for (;;) {
    const at = section.at;
    const code = section.byte();
    if (code === END) return;
    const skip = constantInstructions[code];
    if (skip === undefined) throw unsupported(`instruction 0x${code.toString(16)} in a first value at byte ${at}`);
    skip(section);
  }
}

const utf8 = new TextEncoder();

function exportEntry(name: string, kind: number, index: number): Uint8Array {
  const text = utf8.encode(name);
  return Uint8Array.of(...encodeU32(text.length), ...text, kind, ...encodeU32(index));
}

/** The export section with `entries` more. */
function exportSection(found: StateFinder, bytes: Uint8Array, entries: readonly Uint8Array[]): Uint8Array {
  const body = concatenate([
    Uint8Array.from(encodeU32(found.exportCount + entries.length)),
    bytes.subarray(found.exportsFrom, found.exportsEnd),
    ...entries,
  ]);
  return concatenate([Uint8Array.of(Section.EXPORT, ...encodeU32(body.length)), body]);
}

interface Split {
  readonly found: StateFinder;
  /** Where the export section is, or is to be where there is none. */
  readonly from: number;
  readonly to: number;
}

/** Reads the sections up to the exports. */
function findState(bytes: Uint8Array): Split {
  const reader = new BinaryReader(bytes);
  for (const byte of MAGIC) {
    const at = reader.at;
    if (reader.byte() !== byte) throw new BinaryError('no WebAssembly module of version 1', at);
  }
  const found = new StateFinder();
  while (reader.left > 0) {
    const from = reader.at;
    const id = reader.byte();
    if (!beforeExports.has(id) && id !== Section.EXPORT) return { found, from, to: from };
    found.read(id, reader.part(reader.u32()));
    if (id === Section.EXPORT) return { found, from, to: reader.at };
  }
  return { found, from: bytes.length, to: bytes.length };
}

function stateGlobals(globals: readonly Global[]): { readonly index: number; readonly type: ValueType }[] {
  return globals.flatMap(({ type, isMutable, described }, index) => {
    if (!isMutable) return [];
    const known = valueTypes[type as keyof typeof valueTypes];
    if (known !== undefined) return [{ index, type: known }];
    throw unsupported(`${described} is mutable and of type ${typeNames[type] ?? `0x${type.toString(16)}`}`);
  });
}

/** Types of globals whose value JavaScript can't carry elsewhere. */
const typeNames: Readonly<Record<number, string>> = {
  123: 'v128',
  112: 'funcref',
  111: 'externref',
  105: 'exnref',
  99: 'a reference',
  100: 'a reference',
};

/**
 * Throws UNSUPPORTED, naming it, for state that can't be moved: a mutable vector or reference, a shared memory, one
 * of 64 bits; and BAD_ARGUMENT for bytes that are no module. Whether the rest is one is for the compiler to say.
 */
export function exportState(bytes: Uint8Array): StateExports {
  try {
    const { found, from, to } = findState(bytes);
    const globals = stateGlobals(found.globals);
    const named = (kind: string, index: number) => {
      const name = `${PREFIX}${kind}.${index}`;
      if (found.exportNames.has(name)) throw unsupported(`it has the export "${name}" already`);
      return name;
    };
    const globalNames = globals.map(({ index }) => named('global', index));
    const tables = Array.from({ length: found.tables }, (_, index) => named('table', index));
    const memories = Array.from({ length: found.memories }, (_, index) => named('memory', index));
    const entries = [
      ...globals.map(({ index }, place) => exportEntry(globalNames[place], Kind.GLOBAL, index)),
      ...tables.map((name, index) => exportEntry(name, Kind.TABLE, index)),
      ...memories.map((name, index) => exportEntry(name, Kind.MEMORY, index)),
    ];
    return {
      bytes: concatenate([bytes.subarray(0, from), exportSection(found, bytes, entries), bytes.subarray(to)]),
      globals: globals.map(({ type }, place) => ({ name: globalNames[place], type })),
      tables,
      memories: memories.map((name, index) => ({ name, isImported: index < found.importedMemories })),
    };
  } catch (cause) {
    if (!(cause instanceof BinaryError)) throw cause;
    throw new MigrationError('BAD_ARGUMENT', `not a WebAssembly module: ${cause.message}`, {
      hint: 'give the bytes of a compiled module, version 1',
      cause,
    });
  }
}
