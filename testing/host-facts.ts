/** The facts of a host on which all works: a plain root on a recent kernel, in no container. */
import type { HostFacts } from '#lib/doctor/facts.js';

export const ableHost: HostFacts = {
  kernel: '6.18.0-1-amd64',
  arch: 'x64',
  config: { USERFAULTFD: true, KVM: true },
  sysctl: { unprivilegedUserfaultfd: 0, overcommitMemory: 0, maxMapCount: 65_530 },
  drivers: {
    userfaultfd: {
      minor: 126,
      device: { mode: 0o600, uid: 0, gid: 0, group: 'root', isCharacterDevice: true, isNodev: false },
    },
    kvm: {
      minor: 232,
      device: { mode: 0o660, uid: 0, gid: 106, group: 'kvm', isCharacterDevice: true, isNodev: false },
    },
  },
  user: { uid: 0, groups: [0] },
  status: {
    seccomp: 'none',
    seccompFilters: 0,
    noNewPrivileges: false,
    capabilities: ['CAP_DAC_OVERRIDE', 'CAP_IPC_LOCK', 'CAP_SYS_PTRACE', 'CAP_SYS_ADMIN'],
  },
  isInitialUserNamespace: true,
  container: null,
  selinux: null,
  apparmor: null,
  cpu: { virtualization: 'vmx', isVirtual: false },
  limits: { openFiles: 20_000, processes: 96_000, lockedMemory: 2 ** 23, addressSpace: null },
  memory: { available: 2 ** 34, commitLeft: 2 ** 33, cgroupLeft: null },
  mappings: 300,
  threadsLeft: null,
  hugepages: [{ size: 2 ** 21, total: 8, free: 3 }],
  transparentHugepages: 'madvise',
};

/** The same, seen by a user without any privilege. */
export const asUser: HostFacts = {
  ...ableHost,
  user: { uid: 1000, groups: [1000] },
  status: { ...ableHost.status, capabilities: [] },
};
