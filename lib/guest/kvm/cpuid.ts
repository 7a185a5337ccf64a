/** CPUID as a vCPU shows it: the table that KVM supports, with each vCPU's own number in it. Pure. */

/** `struct kvm_cpuid_entry2`: function, index, flags, eax, ebx, ecx, edx, padding. */
export const CPUID_ENTRY_BYTES = 40;
const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const;
const WORD = { leaf: 0, subleaf: 1, flags: 2, eax: 3, ebx: 4, ecx: 5, edx: 6 } as const;

/**
 * Where the number of the asking processor stands, in which bits: KVM gives that of whichever ran the question.
 * Leaf 1 has 8 bits of it; the topology leaves (0xb, 0x1f, 0x8000001e) have all.
 */
const ownNumbers: readonly { leaf: number; word: number; shift: number }[] = [
  { leaf: 1, word: WORD.ebx, shift: 24 },
  { leaf: 0xb, word: WORD.edx, shift: 0 },
  { leaf: 0x1f, word: WORD.edx, shift: 0 },
  { leaf: 0x8000_001e, word: WORD.eax, shift: 0 },
];

const hex = (value: number): string => `0x${value.toString(16)}`;

const viewOf = (entries: Uint8Array): DataView => new DataView(entries.buffer, entries.byteOffset, entries.byteLength);

/** The table of the vCPU of that number. */
export function cpuidOf(supported: Uint8Array, vcpu: number): Uint8Array {
  const entries = supported.slice();
  const view = viewOf(entries);
  for (let at = 0; at < entries.length; at += CPUID_ENTRY_BYTES) {
    const leaf = view.getUint32(at, true);
    for (const own of ownNumbers) {
      if (own.leaf !== leaf) continue;
      const offset = at + 4 * own.word;
      const kept = own.shift === 0 ? 0 : view.getUint32(offset, true) & (2 ** own.shift - 1);
      view.setUint32(offset, (kept | (vcpu << own.shift)) >>> 0, true);
    }
  }
  return entries;
}

function byLeaf(entries: Uint8Array): Map<string, readonly number[]> {
  const view = viewOf(entries);
  const leaves = new Map<string, readonly number[]>();
  for (let at = 0; at + CPUID_ENTRY_BYTES <= entries.length; at += CPUID_ENTRY_BYTES) {
    const word = (index: number): number => view.getUint32(at + 4 * index, true);
    const key = `${hex(word(WORD.leaf))}.${word(WORD.subleaf)}`;
    leaves.set(key, [word(WORD.flags), ...REGISTERS.map((register) => word(WORD[register]))]);
  }
  return leaves;
}

/** What a table has that another has not, leaf by leaf; empty where they are the same. */
export function cpuidDifferences(theirs: Uint8Array, ours: Uint8Array): string[] {
  const there = byLeaf(theirs);
  const here = byLeaf(ours);
  return [...new Set([...there.keys(), ...here.keys()])].flatMap((leaf) => {
    const a = there.get(leaf);
    const b = here.get(leaf);
    if (a === undefined) return [`CPUID leaf ${leaf} is not in it`];
    if (b === undefined) return [`CPUID leaf ${leaf} is not known here`];
    return REGISTERS.flatMap((register, index) =>
      a[index + 1] === b[index + 1]
        ? []
        : [`CPUID leaf ${leaf} has ${register} ${hex(a[index + 1])}, here ${hex(b[index + 1])}`],
    );
  });
}
