/** What of a module is state, found and exported: in modules of each form, a real one, and bytes that are none. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeU32 } from '#lib/guest/wasm/leb128.js';
import { exportState } from '#lib/guest/wasm/module-binary.js';
import { type WasmGlobal, type WasmImports, type WasmMemory, webAssembly } from '#lib/guest/wasm/webassembly.js';
import { assemble, sqliteBinary } from '../../../testing/wasm.ts';

const instance = (bytes: Uint8Array, imports: WasmImports = {}) =>
  new webAssembly.Instance(new webAssembly.Module(bytes), imports).exports;

function refusal(bytes: Uint8Array): string {
  try {
    exportState(bytes);
  } catch (error) {
    const { code, message } = error as Error & { code: string };
    return `${code}: ${message}`;
  }
  throw new Error('it was taken');
}

const HEAD = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
const section = (id: number, ...body: number[]): number[] => [id, ...encodeU32(body.length), ...body];
const module = (...sections: number[][]): Uint8Array => Uint8Array.from([...HEAD, ...sections.flat()]);

describe('globals', () => {
  test('that are mutable are found, and read and written as the module does', () => {
    const found = exportState(
      assemble(`(module
        (global $fixed i32 (i32.const 1))
        (global $a (mut i32) (i32.const -5))
        (global $b (mut i64) (i64.const 0x7fffffffffffffff))
        (global $c (mut f32) (f32.const 1.5))
        (global $d (mut f64) (f64.const -0.1))
        (func (export "a") (result i32) global.get $a)
        (func (export "bump") (global.set $a (i32.add (global.get $a) (i32.const 1)))))`),
    );
    expect(found.globals).toEqual([
      { name: 'postcopy:global.1', type: 'i32' },
      { name: 'postcopy:global.2', type: 'i64' },
      { name: 'postcopy:global.3', type: 'f32' },
      { name: 'postcopy:global.4', type: 'f64' },
    ]);
    const exports = instance(found.bytes);
    const globals = found.globals.map(({ name }) => exports[name] as WasmGlobal);
    expect(globals.map(({ value }) => value)).toEqual([-5, 0x7fffffffffffffffn, 1.5, -0.1]);
    (exports.bump as () => void)();
    expect(globals[0].value).toBe(-4);
    globals[0].value = 40;
    expect((exports.a as () => number)()).toBe(40);
  });

  test('that are imported come first, and are those of the imports', () => {
    const counter = new webAssembly.Global({ value: 'i32', mutable: true }, 7);
    const found = exportState(
      assemble(`(module
        (import "env" "log" (func (param i32)))
        (import "env" "fixed" (global i32))
        (import "env" "counter" (global (mut i32)))
        (import "env" "memory" (memory 1))
        (import "env" "table" (table 1 funcref))
        (global (mut i32) (global.get 0)))`),
    );
    const memory = new webAssembly.Memory({ initial: 1 });
    const table = new webAssembly.Table({ element: 'anyfunc', initial: 1 });
    const exports = instance(found.bytes, { env: { log: () => {}, fixed: 3, counter, memory, table } });
    expect(found.globals.map(({ name }) => name)).toEqual(['postcopy:global.1', 'postcopy:global.2']);
    expect(exports['postcopy:global.1']).toBe(counter);
    expect((exports['postcopy:global.2'] as WasmGlobal).value).toBe(3);
    expect(found.memories).toEqual([{ name: 'postcopy:memory.0', isImported: true }]);
    expect(exports['postcopy:memory.0']).toBe(memory);
    expect(found.tables.map((name) => exports[name])).toEqual([table]);
  });

  test.each([
    ['a vector', '(global (mut v128) (v128.const i32x4 1 2 3 4))', 'global 0 is mutable and of type v128'],
    ['a function', '(global (mut funcref) (ref.null func))', 'global 0 is mutable and of type funcref'],
    ['a reference', '(import "e" "r" (global (mut externref)))', 'global 0 ("e.r") is mutable and of type externref'],
  ])('that hold %s are refused by name where they are mutable', (_what, text, why) => {
    expect(refusal(assemble(`(module ${text})`))).toBe(`UNSUPPORTED: the WebAssembly module can't be moved: ${why}`);
    expect(exportState(assemble(`(module ${text.replace(/\(mut (\w+)\)/, '$1')})`)).globals).toEqual([]);
  });

  test('with a first value made of several instructions are read', () => {
    const sum = [0x7f, 0x01, 0x41, 0x80, 0x01, 0x41, 0x02, 0x6a, 0x41, 0x03, 0x6c, 0x0b]; // (128 + 2) * 3
    // Newer compilers than this Node's take them, so what is behind them is what tells.
    const found = exportState(module(section(6, 2, ...sum, ...sum), section(7, 0)));
    expect(found.globals.map(({ name }) => name)).toEqual(['postcopy:global.0', 'postcopy:global.1']);
  });

  test('with a first value of an unknown instruction are refused', () => {
    expect(refusal(module(section(6, 1, 0x7f, 0x01, 0xfb, 0x00, 0x0b)))).toBe(
      "UNSUPPORTED: the WebAssembly module can't be moved: instruction 0xfb in a first value at byte 13",
    );
  });
});

describe('memories and tables', () => {
  test('are found with and without an export of the module', () => {
    const found = exportState(
      assemble(`(module (memory 1 4) (memory (export "second") 2) (table 3 funcref) (table (export "t") 4 externref))`),
    );
    expect([found.memories, found.tables]).toEqual([
      [
        { name: 'postcopy:memory.0', isImported: false },
        { name: 'postcopy:memory.1', isImported: false },
      ],
      ['postcopy:table.0', 'postcopy:table.1'],
    ]);
  });

  test('of one memory are the memory of the module', () => {
    const found = exportState(
      assemble('(module (memory (export "m") 2) (func (export "set") (i32.store (i32.const 8) (i32.const 77))))'),
    );
    const exports = instance(found.bytes);
    (exports.set as () => void)();
    expect(exports[found.memories[0].name]).toBe(exports.m);
    expect(new Uint8Array((exports[found.memories[0].name] as WasmMemory).buffer as ArrayBuffer)[8]).toBe(77);
  });

  test.each([
    ['shared', 0x03, 'memory 0 is shared between threads'],
    ['of 64 bits', 0x05, 'memory 0 has addresses of 64 bits'],
    ['of small pages', 0x09, 'memory 0 has pages of its own size'],
  ])('that are %s are refused', (_what, flags, why) => {
    expect(refusal(module(section(5, 1, flags, 1, 1, 0)))).toContain(`UNSUPPORTED: the WebAssembly module can't be`);
    expect(refusal(module(section(5, 1, flags, 1, 1, 0)))).toContain(why);
  });
});

describe('the module', () => {
  test('without any section gets its exports, which are none', () => {
    const found = exportState(module());
    expect(found).toMatchObject({ globals: [], tables: [], memories: [] });
    expect(Object.keys(instance(found.bytes))).toEqual([]);
  });

  test('keeps its own exports, in their order, before ours', () => {
    const found = exportState(
      assemble('(module (global (mut i32) (i32.const 0)) (func (export "f")) (global (export "g") i32 (i32.const 1)))'),
    );
    expect(Object.keys(instance(found.bytes))).toEqual(['f', 'g', 'postcopy:global.0']);
  });

  test('with sections behind the exports gets them before those', () => {
    const started = exportState(
      assemble('(module (global $g (mut i32) (i32.const 1)) (func $f (global.set $g (i32.const 2))) (start $f))'),
    );
    expect((instance(started.bytes)['postcopy:global.0'] as WasmGlobal).value).toBe(2);
  });

  test('with an export of one of our names is refused', () => {
    const text = '(module (global (export "postcopy:global.0") (mut i32) (i32.const 0)))';
    expect(refusal(assemble(text))).toContain('it has the export "postcopy:global.0" already');
  });

  test('of SQLite compiles, with its stack pointer, its table and its memory', () => {
    const bytes = sqliteBinary();
    const found = exportState(bytes);
    expect(found.globals.length).toBeGreaterThan(0);
    expect([found.tables.length, found.memories.length]).toEqual([1, 1]);
    expect(new webAssembly.Module(found.bytes)).toBeInstanceOf(webAssembly.Module);
    expect(found.bytes.length - bytes.length).toBeLessThan(200);
  });
});

/** A global of each type, mutable or not, as the binary has it and with its first value. */
const anyGlobal = fc
  .tuple(
    fc.constantFrom(
      { type: 0x7f, value: [0x41, 0x2a], is: 42 },
      { type: 0x7e, value: [0x42, 0x7f], is: -1n },
      { type: 0x7d, value: [0x43, 0, 0, 0x80, 0x3f], is: 1 },
      { type: 0x7c, value: [0x44, 0, 0, 0, 0, 0, 0, 0, 0x40], is: 2 },
    ),
    fc.boolean(),
  )
  .map(([{ type, value, is }, isMutable]) => ({ bytes: [type, isMutable ? 1 : 0, ...value, 0x0b], isMutable, is }));

/** What no program looks at, between any two sections. */
const custom = fc.uint8Array({ maxLength: 200 }).map((bytes) => section(0, 1, 0x78, ...bytes));

describe('whatever the module', () => {
  test('its globals have our exports, and it is otherwise as it was', () => {
    const parts = fc.tuple(fc.array(anyGlobal, { maxLength: 300 }), custom, custom, fc.boolean());
    fc.assert(
      fc.property(parts, ([globals, before, behind, hasExports]) => {
        const bytes = module(
          before,
          section(6, ...encodeU32(globals.length), ...globals.flatMap((global) => global.bytes)),
          ...(hasExports && globals.length > 0 ? [section(7, 1, 1, 0x67, 3, 0)] : []),
          behind,
        );
        const plain = Object.entries(instance(bytes)).map(([name, global]) => [name, (global as WasmGlobal).value]);
        const found = exportState(bytes);
        const exports = instance(found.bytes);
        const values = Object.entries(exports).map(([name, global]) => [name, (global as WasmGlobal).value]);
        const ours = globals.flatMap(({ isMutable, is }, index) =>
          isMutable ? [[`postcopy:global.${index}`, is]] : [],
        );
        expect(values).toEqual([...plain, ...ours]);
      }),
      { numRuns: 60 },
    );
  });

  test('one that is cut or damaged is refused as one, or goes to the compiler', () => {
    const bytes = sqliteBinary().slice(0, 30_000);
    const damage = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length));
    fc.assert(
      fc.property(damage, ([at, value, end]) => {
        const damaged = bytes.slice(0, end);
        if (at < end) damaged[at] = value;
        try {
          exportState(damaged);
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^(BAD_ARGUMENT|UNSUPPORTED)$/) });
        }
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ['nothing', [], 'the binary ends at byte 0'],
    ['something else', [0x7f, 0x45, 0x4c, 0x46], 'no WebAssembly module of version 1 at byte 0'],
    ['a component', [...HEAD.slice(0, 4), 0x0d, 0, 1, 0], 'no WebAssembly module of version 1 at byte 4'],
    ['a section beyond the end', [...HEAD, 6, 9, 1], 'the binary ends at byte 11'],
    ['a section too long', [...HEAD, ...section(5, 1, 0, 1, 0)], 'a section that is too long at byte 13'],
    ['an unknown import', [...HEAD, ...section(2, 1, 0, 0, 9)], 'an import of the unknown kind 9 at byte 14'],
  ])('%s is refused, with the place', (_what, bytes, why) => {
    expect(refusal(Uint8Array.from(bytes))).toBe(`BAD_ARGUMENT: not a WebAssembly module: ${why}`);
  });
});
