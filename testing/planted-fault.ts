/**
 * The decoders of lib/wire with one check taken out: to show that what looks for faults would find one there.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { StreamDecoder } from '#lib/wire/decode.js';
import type { MultifdDecoder } from '#lib/wire/multifd.js';
import type { ReturnPathDecoder } from '#lib/wire/return-path.js';

export interface PlantedFault {
  /** In dist/wire/. */
  readonly file: string;
  /** Stands there once. */
  readonly check: string;
  readonly instead: string;
}

export interface WireDecoders {
  readonly StreamDecoder: typeof StreamDecoder;
  readonly ReturnPathDecoder: typeof ReturnPathDecoder;
  readonly MultifdDecoder: typeof MultifdDecoder;
}

const wire = fileURLToPath(new URL('.', import.meta.resolve('#lib/wire/index.js')));

/** A copy of the compiled codec with the fault in it; its errors are those of the codec itself. */
export async function withPlantedFault({ file, check, instead }: PlantedFault): Promise<WireDecoders> {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-planted-'));
  try {
    for (const name of readdirSync(wire).filter((each) => each.endsWith('.js'))) copyWithoutMap(name, folder);
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    writeFileSync(join(folder, 'errors.js'), `export * from '${pathToFileURL(join(wire, 'errors.js'))}';\n`);
    const text = readFileSync(join(folder, file), 'utf8');
    const times = text.split(check).length - 1;
    if (times !== 1) throw new Error(`${times} times in ${file}, not once: ${check}`);
    writeFileSync(join(folder, file), text.replace(check, instead));
    return (await import(/* @vite-ignore */ pathToFileURL(join(folder, 'index.js')).href)) as WireDecoders;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Its map names sources that are not beside the copy. */
function copyWithoutMap(name: string, folder: string): void {
  writeFileSync(join(folder, name), readFileSync(join(wire, name), 'utf8').replace(/^\/\/# sourceMappingURL=.*$/m, ''));
}
