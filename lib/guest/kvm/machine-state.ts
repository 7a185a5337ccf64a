/** The kernel's structures of a stopped KVM machine, all of them: got, and set again or not at all. Owner only. */
import { type KvmMachineHandle, type NativeError, native } from '../../native.js';
import type { StateSection } from './device-state.js';
import { sameTsc } from './machine-match.js';

/** Per vCPU, then of the whole machine, in the order to set them in. */
export function readMachineState(machine: KvmMachineHandle, vcpus: number, msrs: Uint32Array): StateSection[] {
  const { kvmGetState, kvmStateNames } = native();
  const names = kvmStateNames(machine);
  const ofVcpus = Array.from({ length: vcpus }, (_, vcpu) =>
    names.vcpu.map((name) => ({ vcpu, name, bytes: kvmGetState(machine, vcpu, name, msrs) })),
  );
  const ofMachine = names.machine.map((name) => ({ name, bytes: kvmGetState(machine, 0, name, msrs) }));
  return [...ofVcpus.flat(), ...ofMachine];
}

/** The structures of each vCPU in their order, then those of the whole machine: interrupt chips tell the vCPUs. */
function inOrder(sections: readonly StateSection[], order: readonly string[]): StateSection[] {
  const place = ({ vcpu = Number.POSITIVE_INFINITY, name }: StateSection) => ({ vcpu, at: order.indexOf(name) });
  return [...sections].sort((one, other) => {
    const a = place(one);
    const b = place(other);
    return a.vcpu === b.vcpu ? a.at - b.at : a.vcpu - b.vcpu;
  });
}

function setAll(machine: KvmMachineHandle, sections: readonly StateSection[], order: readonly string[]): void {
  for (const { vcpu, name, bytes } of inOrder(sections, order)) {
    try {
      native().kvmSetState(machine, vcpu ?? 0, name, bytes);
    } catch (cause) {
      const { code, arguments: given } = cause as NativeError;
      const msr = given?.msr === undefined ? '' : `, MSR 0x${Number(given.msr).toString(16)}`;
      const whose = vcpu === undefined ? name : `${name} of vCPU ${vcpu}`;
      throw new Error(`${whose} is refused by this KVM (${code}${msr})`, { cause });
    }
  }
}

function setTsc(machine: KvmMachineHandle, vcpus: number, khz: number, ownKhz: number): void {
  if (sameTsc(khz, ownKhz)) return;
  try {
    for (let vcpu = 0; vcpu < vcpus; vcpu += 1) native().kvmSetTscKhz(machine, vcpu, khz);
  } catch (cause) {
    throw new Error(`the TSC ran at ${khz} kHz, here ${ownKhz} kHz, and this KVM can't change it`, { cause });
  }
}

/** Thrown where a state was refused, and the machine has not its own any more. */
export class HalfLoaded extends Error {}

/**
 * Sets all of them, which must be those that {@link readMachineState} gives here, in names and sizes. Throws with what
 * is refused, and the machine is as it was; or HalfLoaded, and it is not.
 */
export function writeMachineState(
  machine: KvmMachineHandle,
  sections: readonly StateSection[],
  tscKhz: number,
  own: { readonly sections: readonly StateSection[]; readonly tscKhz: number; readonly vcpus: number },
): void {
  const names = native().kvmStateNames(machine);
  const order = [...names.vcpu, ...names.machine];
  try {
    setTsc(machine, own.vcpus, tscKhz, own.tscKhz);
    setAll(machine, sections, order);
  } catch (refused) {
    try {
      setTsc(machine, own.vcpus, own.tscKhz, tscKhz);
      setAll(machine, own.sections, order);
    } catch (cause) {
      throw new HalfLoaded(`${(refused as Error).message}; nor does it take its own state back`, { cause });
    }
    throw refused;
  }
}
