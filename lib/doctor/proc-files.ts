/** What the kernel says of a process and its host in /proc and /sys, as text in and facts out. Pure. */

/** Capabilities that anything here asks for, by their bit in CapEff. */
const capabilityBits = { CAP_DAC_OVERRIDE: 1, CAP_IPC_LOCK: 14, CAP_SYS_PTRACE: 19, CAP_SYS_ADMIN: 21 } as const;
export type Capability = keyof typeof capabilityBits;

export interface ProcessStatus {
  readonly seccomp: 'none' | 'strict' | 'filter';
  /** Null before Linux 5.9, which does not say. */
  readonly seccompFilters: number | null;
  readonly noNewPrivileges: boolean;
  readonly capabilities: readonly Capability[];
}

/** The value of `name:` in a file of such lines. */
function field(text: string, name: string): string | undefined {
  return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1];
}

/** /proc/self/status. */
export function parseStatus(text: string): ProcessStatus {
  const capEff = BigInt(`0x${field(text, 'CapEff') ?? '0'}`);
  const filters = field(text, 'Seccomp_filters');
  return {
    seccomp: (['none', 'strict', 'filter'] as const)[Number(field(text, 'Seccomp') ?? 0)] ?? 'none',
    seccompFilters: filters === undefined ? null : Number(filters),
    noNewPrivileges: field(text, 'NoNewPrivs') === '1',
    capabilities: (Object.keys(capabilityBits) as Capability[]).filter(
      (name) => (capEff & (1n << BigInt(capabilityBits[name]))) !== 0n,
    ),
  };
}

/** /proc/self/limits: a soft limit by its name there; null is none. */
export function softLimit(text: string, name: string): number | null {
  const value = new RegExp(`^${name}\\s+(\\S+)`, 'm').exec(text)?.[1];
  return value === undefined || value === 'unlimited' ? null : Number(value);
}

/** /proc/meminfo: bytes of an entry, null where there is none. */
export function memoryBytes(text: string, name: string): number | null {
  const value = /^\d+/.exec(field(text, name) ?? '');
  return value === null ? null : Number(value[0]) * 1024;
}

/** /proc/self/uid_map: whether this is the host's own user namespace, where each user is who it is. */
export function isInitialUserNamespace(text: string): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(text);
}

/** /proc/misc: the minor number of a driver; null where it is not loaded or built in. */
export function miscMinor(text: string, name: string): number | null {
  const minor = new RegExp(`^\\s*(\\d+)\\s+${name}$`, 'm').exec(text)?.[1];
  return minor === undefined ? null : Number(minor);
}

/** A kernel's configuration: whether an option is on, as a module too; null where the file does not tell. */
export function configOption(text: string | null, name: string): boolean | null {
  return text === null ? null : new RegExp(`^${name}=[ym]$`, 'm').test(text);
}

/** The part of a kernel's release that is compared: `6.1` of `6.1.0-18-amd64`. */
export function kernelVersion(release: string): readonly [major: number, minor: number] {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return [Number(major ?? 0), Number(minor ?? 0)];
}

export function isKernelOlder(release: string, than: string): boolean {
  const [major, minor] = kernelVersion(release);
  const [thanMajor, thanMinor] = kernelVersion(than);
  return major < thanMajor || (major === thanMajor && minor < thanMinor);
}

/** /proc/self/mountinfo: the options of what is mounted at `path`, or above it. */
export function mountOptions(text: string, path: string): readonly string[] {
  let longest = '';
  let options: readonly string[] = [];
  for (const line of text.split('\n')) {
    const [, , , , at = '', own = ''] = line.split(' ');
    const covers = at === '/' || path === at || path.startsWith(`${at}/`);
    if (!covers || at.length < longest.length) continue;
    longest = at; // of two at one place the later is on top
    options = own.split(',');
  }
  return options;
}

/**
 * /proc/self/cgroup: the folders under /sys/fs/cgroup in which a controller's files of this process may be, innermost
 * first. A container may see the path of the host, and its own files at the root.
 */
export function cgroupFolders(text: string, controller: string): readonly string[] {
  const folders: string[] = [];
  for (const line of text.split('\n')) {
    const [, id, controllers, path] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    const isUnified = id === '0' && controllers === '';
    if (!isUnified && !(controllers ?? '').split(',').includes(controller)) continue;
    const root = isUnified ? '' : `/${controller}`;
    const segments = (path ?? '').split('/').filter((segment) => segment !== '');
    for (let depth = segments.length; depth >= 0; depth--)
      folders.push([root, ...segments.slice(0, depth)].join('/').replace(/^(?=[^/])/, '/'));
  }
  return folders;
}
