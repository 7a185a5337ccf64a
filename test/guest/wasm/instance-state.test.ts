/** Globals that are carried over, tables that must not have changed, and what is refused of a peer's. */
import { describe, expect, test } from 'vitest';
import { InstanceState, savedInstance } from '#lib/guest/wasm/instance-state.js';
import { type WasmGlobal, type WasmTable, webAssembly } from '#lib/guest/wasm/webassembly.js';
import { assemble } from '../../../testing/wasm.ts';

const bytes = assemble(`(module
  (global $i (mut i32) (i32.const 1))
  (global $l (mut i64) (i64.const 2))
  (global $f (mut f32) (f32.const 0.5))
  (global $d (mut f64) (f64.const 0.1))
  (table (export "table") 2 8 funcref)
  (elem (i32.const 0) $one)
  (func $one (export "one"))
  (func $two (export "two"))
  (func (export "i") (result i32) global.get $i)
  (func (export "d") (result f64) global.get $d))`);

async function setUp(): Promise<InstanceState> {
  const state = await InstanceState.instantiate(bytes, {});
  state.holdTables();
  return state;
}

const global = (state: InstanceState, index: number): WasmGlobal =>
  state.instance.exports[`postcopy:global.${index}`] as WasmGlobal;
const call = (state: InstanceState, name: string): unknown => (state.instance.exports[name] as () => unknown)();
const refusal = (code: string, message: string) =>
  expect.objectContaining({ code, message: expect.stringContaining(message) });

describe('globals', () => {
  test.each([
    [-1, -1n, 1.5, 0.1 + 0.2],
    [2 ** 31 - 1, 2n ** 63n - 1n, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
    [0, -(2n ** 63n), Number.NaN, -0],
  ])('that are %d, %d, %d and %d are the same at the other side', async (...values) => {
    const [here, there] = await Promise.all([setUp(), setUp()]);
    for (const [index, value] of values.entries()) global(here, index).value = value;
    const saved = savedInstance.parse(structuredClone(here.save()));
    there.load(saved);
    expect(values.map((_, index) => global(there, index).value)).toEqual(values);
    expect([call(there, 'i'), call(there, 'd')]).toEqual([values[0], values[3]]);
  });
});

describe('tables', () => {
  const table = (state: InstanceState) => state.instance.exports.table as WasmTable;

  test('that are as the setup left them are no obstacle, also when they were different in between', async () => {
    const state = await setUp();
    const { one, two } = state.instance.exports;
    table(state).set(0, two);
    table(state).set(0, one);
    expect(state.save().tables).toEqual([2]);
  });

  test('with another element are not moved, and say which', async () => {
    const state = await setUp();
    table(state).set(1, state.instance.exports.two);
    expect(() => state.save()).toThrow(
      refusal('UNSUPPORTED', 'table 0 of the WebAssembly module has another element 1'),
    );
  });

  test('that have grown are not moved', async () => {
    const state = await setUp();
    table(state).grow(1);
    expect(() => state.save()).toThrow(refusal('UNSUPPORTED', 'has another element 2'));
  });
});

describe('what another side gives', () => {
  test('of another module is refused, with both', async () => {
    const other = await InstanceState.instantiate(assemble('(module (memory 1))'), {});
    const here = await setUp();
    const { module } = other.save();
    expect(() => here.load({ ...here.save(), module })).toThrow(
      refusal('GUEST_MISMATCH', `a WebAssembly module of SHA-256 ${module}, and here is ${here.save().module}`),
    );
  });

  test.each([
    ['other tables', { tables: [3] }, 'tables of the lengths 3, and here is 2'],
    ['no tables', { tables: [] }, 'tables of the lengths'],
    ['fewer globals', { globals: [1] }, 'mutable globals of number, and here is number,bigint,number,number'],
    ['globals of other types', { globals: [1, 2, 3, 4] }, 'mutable globals of number,number,number,number'],
  ])('with %s is refused, and changes nothing', async (_what, wrong, message) => {
    const here = await setUp();
    const before = here.save();
    expect(() => here.load({ ...before, ...wrong })).toThrow(refusal('GUEST_MISMATCH', message));
    expect(here.save()).toEqual(before);
  });

  test.each([
    undefined,
    {},
    { module: 'x', globals: [], tables: [] },
    { module: 'a'.repeat(64), globals: ['1'], tables: [] },
  ])('that is no such thing (%j) is none', (value) => {
    expect(savedInstance.safeParse(value).success).toBe(false);
  });
});

test('what the compiler says of a module is its error', async () => {
  await expect(InstanceState.instantiate(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 10, 0), {})).rejects.toThrow(
    'WebAssembly.compile()',
  );
  await expect(InstanceState.instantiate(Uint8Array.of(1), {})).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  const wanting = assemble('(module (import "env" "missing" (func)))');
  await expect(InstanceState.instantiate(wanting, { env: {} })).rejects.toThrow(webAssembly.LinkError);
});
