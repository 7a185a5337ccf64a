// SQLite with a database in its own memory, as a program that moves: see examples/wasm-sqlite.mjs.
//
// All of the database is WebAssembly memory and goes page by page. JavaScript keeps one number, the address of SQLite's
// connection, and that is the program's state.
import { readFile } from 'node:fs/promises';
import initSqlite from '@sqlite.org/sqlite-wasm';
import { defineWasmProgram } from 'postcopy';

const module = await readFile(new URL(import.meta.resolve('@sqlite.org/sqlite-wasm/sqlite3.wasm')));
let capi;
let wasm;

function check(db, code) {
  if (code === capi.SQLITE_OK) return;
  throw new Error(`SQLite: ${capi.sqlite3_errmsg(db)}`);
}

/** The pointer that `give(target)` writes. */
function pointerFrom(give) {
  const before = wasm.pstack.pointer;
  try {
    const target = wasm.pstack.allocPtr();
    give(target);
    return wasm.peekPtr(target);
  } finally {
    wasm.pstack.restore(before);
  }
}

function open() {
  const flags = capi.SQLITE_OPEN_READWRITE | capi.SQLITE_OPEN_CREATE;
  return pointerFrom((target) => check(0, capi.sqlite3_open_v2(':memory:', target, flags, null)));
}

/** Runs one statement; its rows, each with its columns. */
function query(db, sql, parameters = []) {
  const statement = pointerFrom((target) => check(db, capi.sqlite3_prepare_v2(db, sql, -1, target, null)));
  try {
    for (const [index, value] of parameters.entries()) {
      const text = wasm.allocCString(String(value));
      check(db, capi.sqlite3_bind_text(statement, index + 1, text, -1, capi.SQLITE_WASM_DEALLOC));
    }
    const columns = Array.from({ length: capi.sqlite3_column_count(statement) }, (_, column) => column);
    const rows = [];
    let code = capi.sqlite3_step(statement);
    for (; code === capi.SQLITE_ROW; code = capi.sqlite3_step(statement)) {
      rows.push(columns.map((column) => capi.sqlite3_column_js(statement, column)));
    }
    if (code !== capi.SQLITE_DONE) check(db, code);
    return rows;
  } finally {
    capi.sqlite3_finalize(statement);
  }
}

export default defineWasmProgram({
  name: 'wasm-sqlite',
  version: 1,
  async setup(vcpu) {
    ({ capi, wasm } = await initSqlite({
      INITIAL_MEMORY: vcpu.memory,
      instantiateWasm: (imports, done) => void vcpu.instantiate(module, imports).then(done),
    }));
  },
  run: (vcpu, state = { db: open() }) =>
    vcpu.serve(
      ({ sql, parameters }) => query(state.db, sql, parameters),
      () => state,
    ),
});
