/** WebAssembly guests of testing/wasm-programs/, and what stands in their memory. */
import { WasmGuest, type WasmGuestSettings } from '#lib/index.js';
import type { GuestKit } from '#lib/testing/index.js';
import { until } from './native-thread.ts';
import { assemble } from './wasm.ts';

const MIB = 2 ** 20;
const PAGE = 4096;

/**
 * Keeps numbers, each at the beginning of the next page, from the second page on; how many there are is known to a
 * global alone. The rest is for tests of what a module may do.
 */
export const ledgerModule = assemble(`(module
  (import "host" "call" (func $host))
  (memory (export "memory") 2 4096)
  (table (export "table") 2 8 funcref)
  (global $kept (mut i32) (i32.const 0))
  (func $address (param $place i32) (result i32)
    (i32.shl (i32.add (local.get $place) (i32.const 1)) (i32.const 12)))
  (func (export "keep") (param $number i32) (result i32)
    (i32.store (call $address (global.get $kept)) (local.get $number))
    (global.set $kept (i32.add (global.get $kept) (i32.const 1)))
    (i32.sub (global.get $kept) (i32.const 1)))
  (func (export "kept") (result i32) global.get $kept)
  (func (export "read") (param $place i32) (result i32) (i32.load (call $address (local.get $place))))
  (func (export "sum") (result i64) (local $place i32) (local $sum i64)
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $place) (global.get $kept)))
      (local.set $sum (i64.add (local.get $sum) (i64.load32_u (call $address (local.get $place)))))
      (local.set $place (i32.add (local.get $place) (i32.const 1)))
      (br $next)))
    local.get $sum)
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "pages") (result i32) memory.size)
  (func (export "trap") unreachable)
  (func (export "callHost") (call $host))
  (data (i32.const 0) "written by the setup"))`);

export const wasmProgram = (name: string): URL => new URL(`./wasm-programs/${name}.mjs`, import.meta.url);

export const ledgerGuest = (more: Partial<WasmGuestSettings> = {}): WasmGuestSettings => ({
  program: wasmProgram('exports'),
  memory: 8 * MIB,
  data: { module: ledgerModule },
  ...more,
});

/** The first `count` numbers that a vCPU keeps, as they stand in its RAM, where all pages are here. */
export function keptIn(guest: WasmGuest, vcpu: number, count: number): number[] {
  const words = new Uint32Array(guest.ramBlocks[vcpu].bytes().buffer);
  return Array.from({ length: count }, (_, place) => words[((place + 1) * PAGE) / 4]);
}

/** Takes turns by itself: each adds 1 to the first word of a random page behind the first, and to that of the first. */
const turnsModule = assemble(`(module
  (memory (export "memory") 2 4096)
  (global $random (mut i32) (i32.const 1))
  (func (export "turn") (local $page i32)
    (global.set $random
      (i32.add (i32.mul (global.get $random) (i32.const 1664525)) (i32.const 1013904223)))
    (local.set $page
      (i32.shl
        (i32.add
          (i32.rem_u
            (i32.shr_u (global.get $random) (i32.const 8))
            (i32.sub (i32.shl (memory.size) (i32.const 4)) (i32.const 1)))
          (i32.const 1))
        (i32.const 12)))
    (i32.store (local.get $page) (i32.add (i32.load (local.get $page)) (i32.const 1)))
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))))`);

const turns: WasmGuestSettings = {
  program: wasmProgram('turns'),
  memory: 8 * MIB,
  data: { module: turnsModule },
  vcpus: 2,
};

/** The turns that each vCPU has taken, and how many its pages have had. */
function turnsOf(guest: WasmGuest): [taken: number, had: number][] {
  return guest.ramBlocks.map((block) => {
    const words = new Uint32Array(block.bytes().buffer);
    let had = 0;
    for (let at = PAGE / 4; at < words.length; at += PAGE / 4) had += words[at];
    return [words[0], had];
  });
}

export const turnsKit: GuestKit<WasmGuest> = {
  create: () => WasmGuest.create(turns),
  empty: () => WasmGuest.create(turns),
  verify: async (guest) => {
    for (const [taken, had] of turnsOf(guest)) {
      if (taken !== had) throw new Error(`${taken} turns were taken, and pages have had ${had}`);
    }
  },
  progress: async (guest) => {
    const taken = () => turnsOf(guest).map(([count]) => count);
    const before = taken();
    await until('each vCPU has taken a turn', () => taken().every((count, vcpu) => count > before[vcpu]));
  },
  close: (guest) => guest.close(),
};
