/**
 * Commands as a container would run them, made of the kernel's own parts: namespaces, capabilities that are dropped,
 * seccomp filters, another /dev, device cgroups, limits. Needs root and util-linux. Each is a function from a command
 * to one that runs it so, and they can be put into one another.
 */
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

type Command = readonly string[];
export type Containment = (command: Command) => Command;

/** The number of userfaultfd in the table of each processor. */
const USERFAULTFD: Readonly<Record<string, number>> = { x64: 323, arm64: 282 };
const denySyscall = fileURLToPath(new URL('./deny-syscall.py', import.meta.url));

/** `script` first, in the process that becomes the command. */
const after =
  (script: string): Containment =>
  (command) => ['sh', '-c', `set -e; ${script}; exec "$@"`, 'sh', ...command];

const inMountNamespace: Containment = (command) => ['unshare', '--mount', ...command];

const plainDevices = [
  ['null', 3],
  ['zero', 5],
  ['random', 8],
  ['urandom', 9],
].map(([name, minor]) => `mknod -m 666 /dev/${name} c 1 ${minor}`);

/** A /dev as a container has it: null and its like, and what `nodes` makes. */
export const withOwnDev = (...nodes: readonly string[]): Containment => {
  const script = ['mount -t tmpfs -o mode=755 none /dev', ...plainDevices, 'mkdir -m 1777 /dev/shm', ...nodes];
  return (command) => inMountNamespace(after(script.join('; '))(command));
};

/** The node of userfaultfd, as the host has it or with another mode. */
export const userfaultfdNode = (mode = '600'): string =>
  `mknod -m ${mode} /dev/userfaultfd c 10 $(awk '$2 == "userfaultfd" {print $1}' /proc/misc)`;

/** A /dev/userfaultfd and /dev/kvm whose devices can't be opened. */
export const withNodevDev: Containment = withOwnDev(
  userfaultfdNode('666'),
  'mknod -m 666 /dev/kvm c 10 232',
  'mount -o remount,nodev,bind /dev',
);

export const asNobody: Containment = (command) => [
  ...['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'],
  ...command,
];

export const withoutCapabilities: Containment = (command) => [
  ...['setpriv', '--bounding-set', '-all', '--inh-caps', '-all'],
  ...command,
];

export const inUserNamespace: Containment = (command) => ['unshare', '--user', '--map-root-user', ...command];

/** userfaultfd(2) answers with that errno. */
export const withoutUserfaultfd =
  (errno: 'EPERM' | 'ENOSYS'): Containment =>
  (command) => [
    ...['python3', denySyscall, String(USERFAULTFD[process.arch]), String(constants.errno[errno])],
    ...command,
  ];

/** Limits by the names of prlimit(1), such as `nofile=100`. */
export const limited =
  (...limits: readonly string[]): Containment =>
  (command) => ['prlimit', ...limits.map((limit) => `--${limit}`), ...command];

/** In a cgroup of its own, in the hierarchy of that controller of version 1, after `settings`: values by file. */
export const inCgroup =
  (folder: string, settings: Readonly<Record<string, string>>): Containment =>
  (command) => {
    const writes = Object.entries(settings).map(([file, value]) => `echo '${value}' > ${folder}/${file}`);
    return after([...writes, `echo $$ > ${folder}/tasks`].join('; '))(command);
  };

export const combined =
  (...all: readonly Containment[]): Containment =>
  (command) =>
    all.reduceRight<Command>((inner, containment) => containment(inner), command);
