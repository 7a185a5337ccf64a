/** Memory of which a part is written at will, by this process or by a vCPU of KVM, with the log of what was written. */
import { PageBitmap } from '#lib/memory/bitmap.js';
import { DirtyLog } from '#lib/memory/dirty-log.js';
import { KvmDirtyLog } from '#lib/memory/kvm-dirty-log.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import type { WriteLog } from '#lib/memory/write-log.js';
import { type KvmMachineHandle, native } from '#lib/native.js';

const PAGE = 4096;
/** Guest address from which on pages are written: behind the code. */
const WORK = 0x100000;
const CODE = 0x20000;
/** Milliseconds to wait for the vCPU: it runs in a circle, and is out of KVM at once. */
const STOP_MS = 10_000;

export interface DirtiedMemory extends Disposable {
  /** Pages that can be written. */
  readonly pages: number;
  /** Writes one word of `count` pages, as far apart as there is room. */
  write(count: number): Promise<void>;
  /** Begins the log. */
  startLog(): WriteLog;
  /** What a log is to sync to. */
  readonly dirty: readonly PageBitmap[];
}

/** Bytes from one page that is written to the next. */
const strideOf = (pages: number, count: number): number => Math.floor(pages / count) * PAGE;

/** Mapped whole, so that no write is the first to its page. */
function createBlock(bytes: number): RAMBlock {
  const block = RAMBlock.create({ idstr: 'bench.ram', size: bytes });
  const words = new Uint32Array(block.bytes().buffer);
  for (let at = 0; at < words.length; at += PAGE / 4) words[at] = 1;
  return block;
}

/** Written by this thread, logged by asynchronous write protection. */
export function protectedMemory(bytes: number): DirtiedMemory {
  const block = createBlock(bytes);
  const words = new Uint32Array(block.bytes().buffer);
  const first = WORK / 4;
  const pages = (bytes - WORK) / PAGE;
  return {
    pages,
    dirty: [new PageBitmap(bytes / PAGE)],
    write: async (count) => {
      const step = strideOf(pages, count) / 4;
      for (let page = 0, at = first; page < count; page += 1, at += step) words[at] += 1;
    },
    startLog: () => DirtyLog.start([block.descriptor]),
    [Symbol.dispose]: () => block.close(),
  };
}

/** 32-bit code that adds 1 to the first word of `count` pages, puts out a byte, and runs in a circle. */
function writingCode(count: number, stride: number): Uint8Array {
  const number = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
  return Uint8Array.from([
    ...[0xb8, ...number(WORK)], // mov eax, WORK
    ...[0xb9, ...number(count)], // mov ecx, count
    ...[0xff, 0x00], // next: inc dword [eax]
    ...[0x05, ...number(stride)], // add eax, stride
    0x49, // dec ecx
    ...[0x75, 0xf6], // jnz next
    ...[0xe6, 0xe9], // out 0xe9, al
    ...[0xeb, 0xfe], // jmp here
  ]);
}

/** Written by a vCPU, logged by KVM. `bytes`: 3 GiB at most. */
export function kvmMemory(bytes: number): DirtiedMemory {
  const n = native();
  const block = createBlock(bytes);
  const pages = (bytes - WORK) / PAGE;
  let hear = (): void => {};
  const machine: KvmMachineHandle = n.kvmMachineCreate([block.handle], 1, 0, () => hear());
  return {
    pages,
    dirty: [new PageBitmap(bytes / PAGE)],
    write: async (count) => {
      n.ramBlockWrite(block.handle, CODE, writingCode(count, strideOf(pages, count)));
      n.kvmEnterFlat(machine, 0, { eip: CODE, esp: WORK, ebp: 0, eax: 0, ecx: 0 });
      // What is heard does not keep this process alive.
      const alive = setInterval(() => {}, STOP_MS);
      await new Promise<void>((resolve) => {
        hear = resolve;
        n.kvmMachineStart(machine);
      });
      clearInterval(alive);
      n.kvmMachineTakeOutput(machine);
      const { death } = n.kvmMachineStatus(machine);
      if (death !== undefined) throw new Error(`the vCPU ${death.reason}`);
      if (!n.kvmMachineStop(machine, STOP_MS)) throw new Error('the vCPU does not stop');
    },
    startLog: () => KvmDirtyLog.start([block.descriptor], machine),
    [Symbol.dispose]: () => {
      n.kvmMachineClose(machine);
      block.close();
    },
  };
}
