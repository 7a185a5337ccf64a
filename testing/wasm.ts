/** WebAssembly modules for tests: from their text, and the one of a real program. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';

const { parseWat } = await wabt();

/** `multi_memory` is none that its types know. */
const features = { multi_value: true, bulk_memory: true, reference_types: true, simd: true, multi_memory: true };

/** The binary of a module that is given as text. */
export function assemble(text: string): Uint8Array {
  const module = parseWat('test.wat', text, features);
  try {
    return module.toBinary({}).buffer;
  } finally {
    module.destroy();
  }
}

/** SQLite, as compiled by its authors. */
export const sqliteBinary = (): Uint8Array =>
  readFileSync(fileURLToPath(import.meta.resolve('@sqlite.org/sqlite-wasm/sqlite3.wasm')));
