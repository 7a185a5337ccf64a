/** Whether a machine can take over the device state of another: all that differs, by name. Pure. */
import { cpuidDifferences } from './cpuid.js';
import type { DeviceState, MachineShape, StateSection } from './device-state.js';

/** `struct kvm_msr_entry`: index, reserved, data. */
const MSR_ENTRY_BYTES = 16;
/** A TSC within 250 millionths needs no scaling; the kernel has the same tolerance. */
const TSC_TOLERANCE = 250e-6;

/** A machine that is to take over a state. */
export interface OwnMachine {
  readonly shape: MachineShape;
  /** Its state as it is: what structures it has, and how large they are. */
  readonly sections: readonly StateSection[];
  readonly msrs: readonly number[];
}

const hex = (value: number): string => `0x${value.toString(16)}`;
const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
const nameOf = ({ vcpu, name }: StateSection): string => (vcpu === undefined ? name : `${name} of vCPU ${vcpu}`);

export const sameTsc = (a: number, b: number): boolean => Math.abs(a - b) <= b * TSC_TOLERANCE;

function shapeDifferences(theirs: MachineShape, ours: MachineShape): string[] {
  const found: string[] = [];
  if (theirs.vcpus !== ours.vcpus) found.push(`${plural(theirs.vcpus, 'vCPU')}, here ${ours.vcpus}`);
  if (theirs.irqchip !== ours.irqchip) {
    found.push(`${theirs.irqchip ? 'interrupt chips' : 'no interrupt chips'}, here ${ours.irqchip ? 'some' : 'none'}`);
  }
  const sizes = theirs.blocks.join(' + ');
  if (sizes !== ours.blocks.join(' + ')) found.push(`RAM of ${sizes} bytes, here ${ours.blocks.join(' + ')}`);
  if (theirs.xsaveBytes !== ours.xsaveBytes) {
    found.push(`an XSAVE area of ${theirs.xsaveBytes} bytes, here ${ours.xsaveBytes}`);
  }
  return [...found, ...cpuidDifferences(theirs.cpuid, ours.cpuid)];
}

function unknownMsrs({ bytes }: StateSection, known: ReadonlySet<number>): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const indexes = Array.from({ length: bytes.length / MSR_ENTRY_BYTES }, (_, entry) =>
    view.getUint32(entry * MSR_ENTRY_BYTES, true),
  );
  if (indexes.length > known.size) return [`${indexes.length} MSRs, here ${known.size}`]; // some of them twice
  return indexes.filter((index) => !known.has(index)).map((index) => `MSR ${hex(index)} is not known here`);
}

function sectionDifferences(theirs: readonly StateSection[], { sections, msrs }: OwnMachine): string[] {
  const here = new Map(sections.map((section) => [nameOf(section), section]));
  const known = new Set(msrs);
  const found: string[] = [];
  const seen = new Set<string>();
  for (const section of theirs) {
    const name = nameOf(section);
    const own = here.get(name);
    const size = section.bytes.length;
    if (seen.has(name)) found.push(`${name} is there twice`);
    else if (own === undefined) found.push(`${name} is not known here`);
    else if (section.name === 'msrs' && size % MSR_ENTRY_BYTES === 0) found.push(...unknownMsrs(section, known));
    else if (size !== own.bytes.length) found.push(`${name} has ${size} bytes, here ${own.bytes.length}`);
    seen.add(name);
  }
  const missing = [...here.keys()].filter((name) => !seen.has(name)).map((name) => `${name} is missing`);
  return [...found, ...missing];
}

/** Empty where it can. Another frequency of the TSC is for the kernel to judge. */
export function machineDifferences(theirs: DeviceState, ours: OwnMachine): string[] {
  const shape = shapeDifferences(theirs.shape, ours.shape);
  return [...new Set(shape.length > 0 ? shape : sectionDifferences(theirs.sections, ours))];
}
