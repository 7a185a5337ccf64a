/** A small machine of which each side has a part, and the halves that are saved of it. */
import { join } from 'node:path';
import { saveReceivedHalf, saveRemainderHalf } from '#lib/machine/half-machine.js';
import type { Manifest } from '#lib/machine/manifest.js';
import { SaveDirectory } from '#lib/machine/save-directory.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import type { Machine } from '#lib/memory/guest.js';
import { TARGET_PAGE_SIZE } from '#lib/memory/page.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';
import { pattern } from './relay-peers.ts';
import { capturedMachine, machineOf } from './saved-machine.ts';

const captured = capturedMachine();
export const peer: Manifest['peer'] = { uri: 'unix:/run/m.sock', postcopy: true };

/** By name: pages that fill no whole byte, word or chunk of their files. */
export const blockPages = { 'pc.ram': 301, 'vga.vram': 37, 'pc.rom': 1 } as const;
const names = Object.keys(blockPages) as (keyof typeof blockPages)[];
export const allPages: number = names.reduce((sum, name) => sum + blockPages[name], 0);

/** The pages as they are right, and behind them as they are wrong. */
const drawn = pattern(2 * allPages * TARGET_PAGE_SIZE, 1);

/** Where the pages of all blocks, one block behind the other, are. */
function placeOf(page: number): [block: number, page: number] {
  let first = 0;
  for (const [block, name] of names.entries()) {
    if (page < first + blockPages[name]) return [block, page - first];
    first += blockPages[name];
  }
  throw new RangeError(`there is no page ${page}`);
}

/** By block: the marks of those of all pages. */
export function marksOf(pages: Iterable<number>): PageBitmap[] {
  const marks = names.map((name) => new PageBitmap(blockPages[name]));
  for (const each of pages) {
    const [block, page] = placeOf(each);
    marks[block].set(page);
  }
  return marks;
}

/** What a page holds where it is right, and where it is stale or not there yet. */
export type Content = 'right' | 'wrong' | 'zero';

export class SmallMachine {
  readonly machine: Machine;
  readonly deviceState: Uint8Array;
  readonly ramBlocks: readonly RAMBlock[];

  /** `contents` of all pages. */
  constructor(contents: (page: number) => Content, machine: Machine = machineOf(captured)) {
    this.machine = machine;
    this.deviceState = captured.allDevices();
    this.ramBlocks = names.map((idstr) => RAMBlock.create({ idstr, size: blockPages[idstr] * TARGET_PAGE_SIZE }));
    for (let page = 0; page < allPages; page++) {
      const [block, at] = placeOf(page);
      const content = contents(page);
      if (content === 'zero') continue;
      const bytes = SmallMachine.page(page, content);
      native().ramBlockWrite(this.ramBlocks[block].handle, at * TARGET_PAGE_SIZE, bytes);
    }
  }

  static page(page: number, content: Exclude<Content, 'zero'> = 'right'): Uint8Array {
    const at = (content === 'right' ? page : page + allPages) * TARGET_PAGE_SIZE;
    return drawn.subarray(at, at + TARGET_PAGE_SIZE);
  }

  /** Its blocks' bytes, one behind the other, where all of it is right. */
  static image(): Buffer {
    return Buffer.concat(Array.from({ length: allPages }, (_, page) => SmallMachine.page(page)));
  }

  [Symbol.dispose](): void {
    for (const block of this.ramBlocks) block.close();
  }
}

/**
 * Saves both halves in `folder`, as `destination` and `source`: pages that a half does not have are stale in the
 * memory that it is made of.
 */
export async function saveHalves(folder: string, received: Iterable<number>, remainder: Iterable<number>) {
  const directories = { destination: join(folder, 'destination'), source: join(folder, 'source') };
  const sides = [
    [directories.destination, saveReceivedHalf, new Set(received)],
    [directories.source, saveRemainderHalf, new Set(remainder)],
  ] as const;
  for (const [path, save, pages] of sides) {
    using small = new SmallMachine((page) => (pages.has(page) ? 'right' : 'wrong'));
    const { machine, ramBlocks, deviceState } = small;
    await save(await SaveDirectory.create(path), { machine, ramBlocks, deviceState, pages: marksOf(pages), peer });
  }
  return directories;
}
