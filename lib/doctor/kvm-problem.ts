/** Why there is no KVM for a machine, from the errno of opening it and the facts. Pure. */
import { deviceCure, labelCure } from './container.js';
import type { HostFacts } from './facts.js';
import type { Problem } from './problem.js';
import { mayOpen } from './userfaultfd-problem.js';

const DEVICE = '/dev/kvm';
const WITHOUT = '--guest stress needs no KVM';

type Finding = Pick<Problem, 'id' | 'what' | 'why' | 'fix'>;

interface Cause {
  readonly applies: (errno: string, facts: HostFacts) => boolean;
  readonly find: (errno: string, facts: HostFacts) => Finding;
}

/** How the user comes into the group that may open it. In a container the node has the permissions of the host's. */
function groupCure({ container, drivers: { kvm } }: HostFacts): string {
  const { gid = 0, group = null, mode = 0 } = kvm.device ?? {};
  if (gid === 0 || (mode & 0o060) !== 0o060) {
    const give = `"sudo chgrp kvm ${DEVICE} && sudo chmod 0660 ${DEVICE}"`;
    return container === null ? `${give}, and add the user to the group kvm` : `on the host, ${give}`;
  }
  if (container === 'docker' || container === 'podman') {
    return `start the container with "${container} run --group-add ${gid} …"`;
  }
  const name = group ?? String(gid);
  return `add the user to the group ${name} ("sudo usermod -aG ${name} $USER"), and log in again`;
}

const causes: readonly Cause[] = [
  {
    applies: (errno) => errno === 'ENOTSUP',
    find: (_errno, { arch }) => ({
      id: 'kvm-processor',
      what: `a KVM guest is a machine of x86-64, and this host is ${arch}`,
      why: `the processor is ${arch}`,
      fix: 'use an x86-64 host',
    }),
  },
  {
    applies: (errno, { drivers }) => errno === 'ENOENT' && drivers.kvm.minor !== null,
    find: (_errno, { container, drivers }) => ({
      id: 'kvm-device-absent',
      what: `there is no ${DEVICE} here, though the kernel has it`,
      why: `${drivers.kvm.minor} in /proc/misc is kvm`,
      fix: deviceCure(container, DEVICE, drivers.kvm.minor),
    }),
  },
  {
    applies: (errno, { cpu }) => errno === 'ENOENT' && cpu.virtualization === null && cpu.isVirtual,
    find: () => ({
      id: 'kvm-not-nested',
      what: `there is no ${DEVICE}: this is a virtual machine without nested virtualisation`,
      why: '/proc/cpuinfo has the flag hypervisor, and neither vmx nor svm',
      fix:
        'switch on nested virtualisation: on the host "modprobe kvm_intel nested=1" (or kvm_amd) and the CPU model ' +
        '"host", or a cloud instance that offers it',
    }),
  },
  {
    applies: (errno, { cpu }) => errno === 'ENOENT' && cpu.virtualization === null,
    find: () => ({
      id: 'kvm-switched-off',
      what: `there is no ${DEVICE}: the processor has no virtualisation, or it is switched off`,
      why: '/proc/cpuinfo has neither vmx nor svm',
      fix: 'switch on VT-x or AMD-V in the firmware',
    }),
  },
  {
    applies: (errno) => errno === 'ENOENT',
    find: (_errno, { cpu }) => ({
      id: 'kvm-not-loaded',
      what: `there is no ${DEVICE}: the kvm module is not loaded`,
      why: `/proc/cpuinfo has ${cpu.virtualization}, and /proc/misc no kvm`,
      fix: `load the kvm module ("sudo modprobe ${cpu.virtualization === 'svm' ? 'kvm_amd' : 'kvm_intel'}")`,
    }),
  },
  {
    applies: (errno, { drivers }) => errno === 'EACCES' && drivers.kvm.device?.isNodev === true,
    find: (_errno, { container, drivers }) => ({
      id: 'kvm-nodev',
      what: `${DEVICE} is on a file system without devices`,
      why: 'it is mounted with nodev',
      fix: deviceCure(container, DEVICE, drivers.kvm.minor),
    }),
  },
  {
    applies: (errno, facts) => errno === 'EACCES' && !mayOpen(facts, 'kvm'),
    find: (_errno, facts) => ({
      id: 'kvm-group',
      what: `this user may not open ${DEVICE}`,
      why:
        `it is of group ${facts.drivers.kvm.device?.group ?? facts.drivers.kvm.device?.gid} with mode ` +
        `${(facts.drivers.kvm.device?.mode ?? 0).toString(8).padStart(4, '0')}, and this is user ${facts.user.uid} ` +
        `of the groups ${facts.user.groups.join(', ') || 'none'}`,
      fix: groupCure(facts),
    }),
  },
  {
    applies: (errno) => errno === 'EACCES',
    find: (_errno, { container }) => ({
      id: 'kvm-label',
      what: `${DEVICE} is refused to this process`,
      why: 'its mode allows it, so a security module does not',
      fix: labelCure(container),
    }),
  },
  {
    applies: (errno) => errno === 'EPERM',
    find: (_errno, { container, drivers }) => ({
      id: 'kvm-cgroup',
      what: `the device cgroup does not allow ${DEVICE}`,
      why: `${DEVICE} answers EPERM whatever its mode, as the device rules of a container do`,
      fix: deviceCure(container ?? 'unknown', DEVICE, drivers.kvm.minor),
    }),
  },
  {
    applies: () => true,
    find: (errno) => ({
      id: 'kvm-other',
      what: `${DEVICE} does not open (${errno})`,
      why: `open answers ${errno}`,
      fix: errno === 'EBUSY' ? 'end the other hypervisor that has the processor' : 'see "dmesg" for why',
    }),
  },
];

const EFFECT = 'no KVM guest: the demo takes the stress guest';

/** Why /dev/kvm did not open. */
export function kvmProblem(errno: string, facts: HostFacts): Problem {
  const cause = causes.find(({ applies }) => applies(errno, facts)) ?? causes[causes.length - 1];
  const { fix, ...found } = cause.find(errno, facts);
  return { severity: 'warning', ...found, fix: `${fix}; ${WITHOUT}`, effect: EFFECT };
}

/** It opened, and lacks something that a machine needs. */
export function kvmLacks(apiVersion: number, missing: readonly string[], version: number): Problem {
  return {
    id: 'kvm-old',
    severity: 'warning',
    what: `this KVM, of API version ${apiVersion}, lacks ${missing.join(', ') || `version ${version}`}`,
    why: 'KVM_GET_API_VERSION and KVM_CHECK_EXTENSION say so',
    fix: `use a newer kernel; ${WITHOUT}`,
    effect: EFFECT,
  };
}
