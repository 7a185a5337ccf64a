/**
 * What of a WebAssembly instance is no memory and moves all the same: its mutable globals. And what does not move and
 * must be as it was after the setup, as it is at the other side: its tables. In the instance's thread, at a safe point:
 * with no function of the module on the stack, there is no more to an instance than these and its memories.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { MigrationError } from '../../errors.js';
import { exportState, type StateExports, type ValueType } from './module-binary.js';
import { type WasmGlobal, type WasmImports, type WasmInstance, type WasmTable, webAssembly } from './webassembly.js';

/** As structured clone carries it. */
export const savedInstance = z.object({
  /** SHA-256 of the module's bytes, in hexadecimal. */
  module: z.string().length(64),
  /** Of the mutable ones, in the order of their indexes: a bigint for i64, else a number. */
  globals: z.array(z.union([z.number(), z.nan(), z.literal([Infinity, -Infinity]), z.bigint()])),
  /** How many elements each has. */
  tables: z.array(z.number()),
});
export type SavedInstance = z.infer<typeof savedInstance>;

const typeOf: Readonly<Record<ValueType, 'number' | 'bigint'>> = {
  i32: 'number',
  i64: 'bigint',
  f32: 'number',
  f64: 'number',
};

const elementsOf = (table: WasmTable): readonly unknown[] =>
  Array.from({ length: table.length }, (_, index) => table.get(index));

export class InstanceState {
  readonly instance: WasmInstance;
  readonly found: StateExports;
  readonly #module: string;
  #elements: readonly (readonly unknown[])[] = [];

  private constructor(instance: WasmInstance, found: StateExports, module: string) {
    this.instance = instance;
    this.found = found;
    this.#module = module;
  }

  /** Throws as {@link exportState} and as WebAssembly does. */
  static async instantiate(bytes: Uint8Array, imports: WasmImports): Promise<InstanceState> {
    const found = exportState(bytes);
    const instance = await webAssembly.instantiate(await webAssembly.compile(found.bytes), imports);
    return new InstanceState(instance, found, createHash('sha256').update(bytes).digest('hex'));
  }

  /** The setup is over: from here on the tables are to stay as they are. */
  holdTables(): void {
    this.#elements = this.#tables().map(elementsOf);
  }

  /** Throws UNSUPPORTED where a table is not what it was after the setup. */
  save(): SavedInstance {
    const tables = this.#tables();
    for (const [index, table] of tables.entries()) {
      const held = this.#elements[index];
      const changed = elementsOf(table).findIndex((element, at) => !Object.is(element, held[at]));
      if (changed < 0 && table.length === held.length) continue;
      const what = changed < 0 ? 'a smaller length' : `another element ${changed}`;
      throw new MigrationError(
        'UNSUPPORTED',
        `table ${index} of the WebAssembly module has ${what} than after the setup`,
        {
          hint: 'fill tables in the setup, which the other side runs as well: what is put there later does not move',
        },
      );
    }
    return {
      module: this.#module,
      globals: this.#globals().map(({ value }) => value as number | bigint),
      tables: tables.map(({ length }) => length),
    };
  }

  /** Throws GUEST_MISMATCH where it was saved of another module, or one that was set up otherwise. */
  load(saved: SavedInstance): void {
    const differ = (what: string, there: unknown, here: unknown) =>
      new MigrationError('GUEST_MISMATCH', `the guest comes with ${what} ${there}, and here is ${here}`, {
        hint: 'give both sides the same program, with the same module',
      });
    if (saved.module !== this.#module) throw differ('a WebAssembly module of SHA-256', saved.module, this.#module);
    const lengths = this.#tables().map(({ length }) => length);
    if (`${saved.tables}` !== `${lengths}`) throw differ('tables of the lengths', saved.tables, lengths);
    const types = this.found.globals.map(({ type }) => typeOf[type]);
    const savedTypes = saved.globals.map((value) => typeof value);
    if (`${savedTypes}` !== `${types}`) throw differ('mutable globals of', savedTypes, types);
    for (const [index, global] of this.#globals().entries()) global.value = saved.globals[index];
  }

  #globals(): WasmGlobal[] {
    return this.found.globals.map(({ name }) => this.instance.exports[name] as WasmGlobal);
  }

  #tables(): WasmTable[] {
    return this.found.tables.map((name) => this.instance.exports[name] as WasmTable);
  }
}
