/**
 * What this process is contained in, and how each kind of container is told to give it a device or a system call.
 * Pure.
 */

/** How a runtime is recognised is in facts.ts; `unknown` is a container of some other kind. */
export type Runtime =
  | 'docker'
  | 'podman'
  | 'kubernetes'
  | 'lxc'
  | 'systemd-nspawn'
  | 'systemd-service'
  | 'bubblewrap'
  | 'unknown';

interface Cures {
  /** Told to a person: how to have that device in the container. */
  readonly device: (path: string) => string;
  /** The same of a system call that its filter refuses. */
  readonly syscall: (name: string) => string;
  /** The same of SELinux or AppArmor. */
  readonly label: string;
}

const asDocker = (command: 'docker' | 'podman'): Cures => ({
  device: (path) => `start the container with "${command} run --device ${path} …"`,
  syscall: (name) =>
    `start the container with "${command} run --security-opt seccomp=FILE …", a profile that allows ${name} ` +
    '(docs/containers.md has how)',
  label: `start the container with "${command} run --security-opt label=disable …"`,
});

const cures: Readonly<Record<Runtime, Cures>> = {
  docker: asDocker('docker'),
  podman: asDocker('podman'),
  kubernetes: {
    device: (path) =>
      `have a device plugin give ${path} to the pod, or set "securityContext: {privileged: true}" for the container`,
    syscall: (name) =>
      'set "securityContext: {seccompProfile: {type: Localhost, localhostProfile: FILE}}" with a profile that ' +
      `allows ${name} (docs/containers.md has how)`,
    label: 'set "securityContext: {seLinuxOptions: {type: spc_t}}" for the container',
  },
  lxc: {
    device: (path) => `on the host, "lxc config device add NAME ${path.slice(5)} unix-char path=${path}"`,
    syscall: (name) => `give the container an lxc.seccomp.profile that allows ${name}`,
    label: 'set "lxc.apparmor.profile = unconfined" for the container',
  },
  'systemd-nspawn': {
    device: (path) => `start it with "systemd-nspawn --bind=${path} --property='DeviceAllow=${path} rw' …"`,
    syscall: (name) => `start it with "systemd-nspawn --system-call-filter=${name} …"`,
    label: 'start it without "--selinux-context"',
  },
  'systemd-service': {
    device: (path) =>
      `set "DeviceAllow=${path} rw" in the unit, and "BindPaths=${path}" where it has PrivateDevices=yes`,
    syscall: (name) => `add "SystemCallFilter=${name}" to the unit`,
    label: 'set "SELinuxContext=" or "AppArmorProfile=" in the unit to one that allows it',
  },
  bubblewrap: {
    device: (path) => `start it with "bwrap --dev-bind ${path} ${path} …"`,
    syscall: (name) => `give "bwrap --seccomp" a filter that allows ${name}`,
    label: 'start it under a label that allows it',
  },
  unknown: {
    device: (path) => `give the container the device ${path}`,
    syscall: (name) => `give the container a seccomp profile that allows ${name}`,
    label: 'run the container under a label that allows it',
  },
};

/** How to have a device that the kernel has and this process's /dev lacks, or that it may not open. */
export function deviceCure(runtime: Runtime | null, path: string, minor: number | null): string {
  if (runtime !== null) return cures[runtime].device(path);
  return minor === null ? `have ${path} made` : `"sudo mknod -m 600 ${path} c 10 ${minor}"`;
}

export function syscallCure(runtime: Runtime | null, name: string): string {
  if (runtime !== null) return cures[runtime].syscall(name);
  return `whatever started this process filters its system calls: have it allow ${name}`;
}

export function labelCure(runtime: Runtime | null): string {
  const local = 'allow what "ausearch -m avc -ts recent" shows as denied ("audit2allow -M postcopy" makes a module)';
  return runtime === null ? local : `${cures[runtime].label}, or ${local}`;
}
