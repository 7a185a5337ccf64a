/**
 * Why userfaultfd is not to be had, or not all of it, from the errno of each way in and the facts. The causes are two
 * tables, looked through from the top: what closes the device, and what closes the system call. Pure.
 */
import { deviceCure, labelCure, syscallCure } from './container.js';
import type { HostFacts } from './facts.js';
import type { Problem } from './problem.js';
import { isKernelOlder } from './proc-files.js';

/** The errno that closes each way, null where it is open. The names are those of `UserfaultfdVia`. */
export interface UserfaultfdWays {
  readonly device: string | null;
  readonly syscall: string | null;
  readonly 'user-mode-only': string | null;
}

interface Finding {
  readonly id: string;
  readonly what: string;
  readonly why: string;
  /** Null where nothing can be done about this way. */
  readonly fix: string | null;
}

interface Cause {
  readonly applies: (facts: HostFacts, ways: UserfaultfdWays) => boolean;
  readonly find: (facts: HostFacts, ways: UserfaultfdWays) => Finding;
}

const DEVICE = '/dev/userfaultfd';
const SYSCTL = 'vm.unprivileged_userfaultfd';

/** Where the sysctl can be set: it is the host's, in a container too. */
function sysctlCure({ container }: HostFacts): string {
  return `${container === null ? '' : 'on the host, '}"sudo sysctl -w ${SYSCTL}=1"`;
}

/** The kernel has userfaultfd, whatever a way in answers. */
function isBuiltIn({ config, sysctl, drivers }: HostFacts): boolean {
  return config.USERFAULTFD === true || sysctl.unprivilegedUserfaultfd !== null || drivers.userfaultfd.minor !== null;
}

function filterText({ status }: HostFacts): string {
  const { seccompFilters: filters } = status;
  return `a seccomp filter is on (Seccomp: 2${filters === null ? '' : `, ${filters} of them`} in /proc/self/status)`;
}

/** What a security module may have to do with it; nothing where there is none. */
function labelText({ selinux, apparmor }: HostFacts): readonly string[] {
  if (selinux?.isEnforcing) return [`SELinux enforces, and this process is ${selinux.label}`];
  return apparmor === null ? [] : [`AppArmor confines this process as ${apparmor}`];
}

function permissions({ drivers: { userfaultfd } }: HostFacts): string {
  const { uid = 0, gid = 0, group = null, mode = 0 } = userfaultfd.device ?? {};
  return `of user ${uid} and group ${group ?? gid} with mode ${mode.toString(8).padStart(4, '0')}`;
}

/** Whether the permission bits let this process open the node. */
export function mayOpen({ drivers, user, status }: HostFacts, driver: keyof HostFacts['drivers']): boolean {
  const { device } = drivers[driver];
  if (device === null) return false;
  if (status.capabilities.includes('CAP_DAC_OVERRIDE')) return true;
  const shift = device.uid === user.uid ? 6 : user.groups.includes(device.gid) ? 3 : 0;
  return ((device.mode >> shift) & 0o6) === 0o6;
}

/** How a user who may not open it comes to. In a container the node is made with the permissions of the host's. */
function openCure({ container, user }: HostFacts): string {
  if (container === null) return `"sudo setfacl -m u:${user.uid}:rw ${DEVICE}"`;
  return `run as root in the container, or before it starts "sudo chmod 0666 ${DEVICE}" on the host`;
}

/** What closes {@link DEVICE}. */
const deviceCauses: readonly Cause[] = [
  {
    applies: ({ drivers }, { device }) => device === 'ENOENT' && drivers.userfaultfd.minor !== null,
    find: ({ container, drivers: { userfaultfd } }) => ({
      id: 'userfaultfd-device-absent',
      what: `there is no ${DEVICE} here, though the kernel has it`,
      why: `there is no ${DEVICE}, though the kernel has it (${userfaultfd.minor} in /proc/misc)`,
      fix: deviceCure(container, DEVICE, userfaultfd.minor),
    }),
  },
  {
    applies: (_facts, { device }) => device === 'ENOENT',
    find: ({ kernel }) => ({
      id: 'userfaultfd-device-unknown',
      what: `this kernel has no ${DEVICE}`,
      why: isKernelOlder(kernel, '6.1')
        ? `there is no ${DEVICE}, which came with Linux 6.1 (this is ${kernel})`
        : `there is no ${DEVICE}`,
      fix: null,
    }),
  },
  {
    applies: (_facts, { device }) => device === 'EPERM',
    find: ({ container, drivers }) => ({
      id: 'userfaultfd-device-cgroup',
      what: `the device cgroup does not allow ${DEVICE}`,
      why: `${DEVICE} answers EPERM whatever its mode, as the device rules of a container do`,
      fix: deviceCure(container ?? 'unknown', DEVICE, drivers.userfaultfd.minor),
    }),
  },
  {
    applies: ({ drivers }, { device }) => device === 'EACCES' && drivers.userfaultfd.device?.isNodev === true,
    find: ({ container, drivers }) => ({
      id: 'userfaultfd-device-nodev',
      what: `${DEVICE} is on a file system without devices`,
      why: `${DEVICE} is on a file system that is mounted with nodev`,
      fix: deviceCure(container, DEVICE, drivers.userfaultfd.minor),
    }),
  },
  {
    applies: (facts, { device }) =>
      device === 'EACCES' && facts.drivers.userfaultfd.device !== null && !mayOpen(facts, 'userfaultfd'),
    find: (facts) => ({
      id: 'userfaultfd-device-mode',
      what: `this user may not open ${DEVICE}`,
      why: `${DEVICE} is ${permissions(facts)}, and this is user ${facts.user.uid}`,
      fix: openCure(facts),
    }),
  },
  {
    applies: (_facts, { device }) => device === 'EACCES',
    find: (facts) => ({
      id: 'userfaultfd-device-label',
      what: `${DEVICE} is refused to this process`,
      why: [`${DEVICE} answers EACCES, though its mode allows it`, ...labelText(facts)].join(': '),
      fix: labelCure(facts.container),
    }),
  },
  {
    applies: (_facts, { device }) => device === 'ENXIO' || device === 'ENODEV' || device === 'ENOTTY',
    find: ({ container, drivers: { userfaultfd } }, { device }) => ({
      id: 'userfaultfd-device-wrong',
      what: `${DEVICE} is not the kernel's`,
      why: `${DEVICE} answers ${device}: it is a node of another device`,
      fix:
        container === null && userfaultfd.minor !== null
          ? `"sudo rm ${DEVICE}", and ${deviceCure(null, DEVICE, userfaultfd.minor)}`
          : deviceCure(container, DEVICE, userfaultfd.minor),
    }),
  },
  {
    applies: () => true,
    find: (_facts, { device }) => ({
      id: 'userfaultfd-device-other',
      what: `${DEVICE} does not open`,
      why: `${DEVICE} answers ${device}`,
      fix: null,
    }),
  },
];

/** What closes the system call. That with the flag for user-mode faults tells a missing privilege from a filter. */
const syscallCauses: readonly Cause[] = [
  {
    applies: (_facts, { syscall }) => syscall === 'EMFILE' || syscall === 'ENFILE',
    find: ({ limits }, { syscall }) => ({
      id: 'userfaultfd-descriptors',
      what: 'there are no file descriptors left for a userfaultfd',
      why: `the system call answers ${syscall}, and the limit of this process is ${limits.openFiles ?? 'none'}`,
      fix:
        syscall === 'EMFILE'
          ? `"ulimit -n ${Math.max(4096, 2 * (limits.openFiles ?? 0))}"`
          : '"sudo sysctl -w fs.file-max=1000000"',
    }),
  },
  {
    applies: (facts, { syscall }) => syscall === 'ENOSYS' && facts.status.seccomp === 'filter' && isBuiltIn(facts),
    find: (facts) => ({
      id: 'userfaultfd-seccomp',
      what: 'a seccomp filter hides the system call userfaultfd from this process',
      why: `the kernel has userfaultfd, the call answers ENOSYS, and ${filterText(facts)}`,
      fix: syscallCure(facts.container, 'userfaultfd'),
    }),
  },
  {
    applies: (_facts, { syscall }) => syscall === 'ENOSYS',
    find: ({ kernel, config }) => ({
      id: 'userfaultfd-not-built',
      what: 'this kernel has no userfaultfd',
      why:
        `the system call answers ENOSYS (kernel ${kernel}` +
        `${config.USERFAULTFD === false ? ', CONFIG_USERFAULTFD is not set' : ''})`,
      fix: isKernelOlder(kernel, '4.3')
        ? 'use Linux 4.3 or newer; 6.7 or newer has all that is used'
        : 'use a kernel built with CONFIG_USERFAULTFD=y, as those of the distributions are; gVisor is one without',
    }),
  },
  {
    applies: (_facts, { syscall }) => syscall === 'EACCES',
    find: (facts) => ({
      id: 'userfaultfd-label',
      what: 'a security module refuses userfaultfd to this process',
      why: ['the system call answers EACCES', ...labelText(facts)].join(', and '),
      fix: labelCure(facts.container),
    }),
  },
  {
    applies: ({ kernel, status }, { syscall, 'user-mode-only': userMode }) =>
      syscall === 'EPERM' && userMode === 'EPERM' && status.seccomp === 'filter' && !isKernelOlder(kernel, '5.11'),
    find: (facts) => ({
      id: 'userfaultfd-seccomp',
      what: 'a seccomp filter forbids the system call userfaultfd to this process',
      why: `the call is refused for faults of user mode too, which take no privilege, and ${filterText(facts)}`,
      fix: syscallCure(facts.container, 'userfaultfd'),
    }),
  },
  {
    applies: ({ status, isInitialUserNamespace, sysctl }, { syscall }) =>
      syscall === 'EPERM' &&
      sysctl.unprivilegedUserfaultfd !== 1 &&
      status.capabilities.includes('CAP_SYS_PTRACE') &&
      !isInitialUserNamespace,
    find: (facts) => ({
      id: 'userfaultfd-user-namespace',
      what: 'root of a user namespace may not use userfaultfd',
      why:
        'CAP_SYS_PTRACE counts in the user namespace of the host only, ' + 'and by /proc/self/uid_map this is another',
      fix: sysctlCure(facts),
    }),
  },
  {
    applies: ({ status, sysctl }, { syscall }) =>
      syscall === 'EPERM' && sysctl.unprivilegedUserfaultfd !== 1 && !status.capabilities.includes('CAP_SYS_PTRACE'),
    find: (facts) => ({
      id: 'userfaultfd-privilege',
      what:
        facts.user.uid === 0
          ? 'root without CAP_SYS_PTRACE may not use userfaultfd'
          : 'this user may not use userfaultfd',
      why:
        `the system call takes CAP_SYS_PTRACE, which is not in CapEff, or ${SYSCTL}=1, ` +
        `which is ${facts.sysctl.unprivilegedUserfaultfd ?? 'not there'}`,
      fix: facts.container === null ? `run as root, or ${sysctlCure(facts)}` : privilegeCure(facts),
    }),
  },
  {
    applies: () => true,
    find: (facts, { syscall }) => ({
      id: 'userfaultfd-refused',
      what: 'something refuses userfaultfd to this process',
      why: [
        `the system call answers ${syscall}, though the privilege is there`,
        ...(facts.status.seccomp === 'filter' ? [filterText(facts)] : []),
        ...labelText(facts),
      ].join('; '),
      fix: facts.status.seccomp === 'filter' ? syscallCure(facts.container, 'userfaultfd') : labelCure(facts.container),
    }),
  },
];

/** In a container the privilege is one that the runtime adds, to root only. */
function privilegeCure(facts: HostFacts): string {
  const { container, user } = facts;
  const isAdded = user.uid === 0 && (container === 'docker' || container === 'podman');
  return `${isAdded ? `"${container} run --cap-add SYS_PTRACE …", or ` : ''}${sysctlCure(facts)}`;
}

const EFFECT_NONE =
  'no migration: a destination takes the guest over with userfaultfd, and a source finds with it what the guest writes';
const EFFECT_USER_MODE =
  'no postcopy of a guest that the kernel works for: a KVM guest, or one that has read(2) fill its memory';

function find(causes: readonly Cause[], facts: HostFacts, ways: UserfaultfdWays): Finding {
  const cause = causes.find(({ applies }) => applies(facts, ways)) ?? causes[causes.length - 1];
  return cause.find(facts, ways);
}

/** What is wrong with userfaultfd; undefined where one that covers the kernel's faults opens. */
export function userfaultfdProblem(ways: UserfaultfdWays, facts: HostFacts): Problem | undefined {
  if (ways.device === null || ways.syscall === null) return undefined;
  const device = find(deviceCauses, facts, ways);
  const syscall = find(syscallCauses, facts, ways);
  // The device first: it opens userfaultfd alone, and to this process alone.
  const cures = [device.fix, syscall.fix].filter((fix) => fix !== null);
  const rest = { why: `${syscall.why}; ${device.why}`, fix: [...new Set(cures)].join(', or ') };
  if (ways['user-mode-only'] !== null) {
    return { id: syscall.id, severity: 'error', what: syscall.what, ...rest, effect: EFFECT_NONE };
  }
  const what =
    'userfaultfd works for faults of user mode only: memory that the kernel touches (KVM guests) is not covered';
  return { id: 'userfaultfd-user-mode', severity: 'warning', what, ...rest, effect: EFFECT_USER_MODE };
}
