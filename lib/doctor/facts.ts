/**
 * The facts about this host and process that the doctor judges by. Read from files and changes nothing; what can't be
 * read is null. All of it is plain data, as it is part of `postcopy probe --json`.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { arch, release } from 'node:os';
import { gunzipSync } from 'node:zlib';
import type { Runtime } from './container.js';
import {
  cgroupFolders,
  configOption,
  isInitialUserNamespace,
  memoryBytes,
  miscMinor,
  mountOptions,
  type ProcessStatus,
  parseStatus,
  softLimit,
} from './proc-files.js';

export interface DeviceFacts {
  /** Its permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** The name of its group, where there is one. */
  readonly group: string | null;
  readonly isCharacterDevice: boolean;
  /** It is on a file system whose devices can't be opened. */
  readonly isNodev: boolean;
}

/** A driver that has a device of a fixed name. */
export interface DriverFacts {
  /** Its minor number, where the kernel has the driver. */
  readonly minor: number | null;
  /** The node in /dev. */
  readonly device: DeviceFacts | null;
}

export interface HostFacts {
  readonly kernel: string;
  readonly arch: string;
  /** Options of the kernel's build; null where its configuration can't be read. */
  readonly config: Readonly<Record<'USERFAULTFD' | 'KVM', boolean | null>>;
  readonly sysctl: Readonly<Record<'unprivilegedUserfaultfd' | 'overcommitMemory' | 'maxMapCount', number | null>>;
  readonly drivers: Readonly<Record<'userfaultfd' | 'kvm', DriverFacts>>;
  readonly user: { readonly uid: number; readonly groups: readonly number[] };
  readonly status: ProcessStatus;
  /** False where users, root among them, are not those of the host. */
  readonly isInitialUserNamespace: boolean;
  readonly container: Runtime | null;
  readonly selinux: { readonly label: string; readonly isEnforcing: boolean } | null;
  /** A profile other than `unconfined`. */
  readonly apparmor: string | null;
  readonly cpu: { readonly virtualization: 'vmx' | 'svm' | null; readonly isVirtual: boolean };
  /** Of this process; null is none. `openFiles` and `processes` are counts, the others bytes. */
  readonly limits: Readonly<Record<'openFiles' | 'processes' | 'lockedMemory' | 'addressSpace', number | null>>;
  /** Bytes. `cgroupLeft`: what the narrowest memory cgroup still gives; null where there is no limit. */
  readonly memory: Readonly<Record<'available' | 'commitLeft' | 'cgroupLeft', number | null>>;
  readonly mappings: number | null;
  /** Threads that the narrowest pids cgroup still gives; null where there is no limit. */
  readonly threadsLeft: number | null;
  readonly hugepages: readonly { readonly size: number; readonly total: number; readonly free: number }[];
  /** Of /sys/kernel/mm/transparent_hugepage/enabled: `always`, `madvise` or `never`. */
  readonly transparentHugepages: string | null;
}

/** Where the facts come from; a test has its own. */
export interface Sources {
  /** A file's text, or null where it can't be read. */
  readonly read: (path: string) => string | null;
  /** The names in a folder; none where it can't be read. */
  readonly list: (path: string) => readonly string[];
  readonly device: (path: string) => Omit<DeviceFacts, 'group' | 'isNodev'> | null;
  readonly kernel: string;
  readonly arch: string;
  readonly uid: number;
  readonly groups: readonly number[];
  readonly environment: Readonly<Record<string, string | undefined>>;
}

function attempt<T>(look: () => T): T | null {
  try {
    return look();
  } catch {
    return null; // what can't be read is a fact as well
  }
}

const ownSources = (): Sources => ({
  read: (path) =>
    attempt(() => (path.endsWith('.gz') ? gunzipSync(readFileSync(path)).toString() : readFileSync(path, 'utf8'))),
  list: (path) => attempt(() => readdirSync(path)) ?? [],
  device: (path) =>
    attempt(() => {
      const stat = statSync(path);
      return { mode: stat.mode & 0o777, uid: stat.uid, gid: stat.gid, isCharacterDevice: stat.isCharacterDevice() };
    }),
  kernel: release(),
  arch: arch(),
  uid: process.geteuid?.() ?? 0,
  groups: process.getgroups?.() ?? [],
  environment: process.env,
});

type Read = Sources['read'];

const numberIn = (read: Read, path: string): number | null => {
  const text = read(path);
  return text === null || !/^\d+\s*$/.test(text) ? null : Number(text);
};

/** What `container` in the environment, which runtimes set, is called here. */
const namedRuntimes: Readonly<Record<string, Runtime>> = {
  docker: 'docker',
  podman: 'podman',
  oci: 'podman',
  kube: 'kubernetes',
  lxc: 'lxc',
  'systemd-nspawn': 'systemd-nspawn',
  bwrap: 'bubblewrap',
  flatpak: 'bubblewrap',
};

function runtimeOf({ read, environment }: Sources, cgroup: string): Runtime | null {
  const { container, KUBERNETES_SERVICE_HOST } = environment;
  if (KUBERNETES_SERVICE_HOST !== undefined || cgroup.includes('kubepods')) return 'kubernetes';
  if (container !== undefined && container !== '') return namedRuntimes[container] ?? 'unknown';
  if (read('/run/.containerenv') !== null) return 'podman';
  if (read('/.dockerenv') !== null) return 'docker';
  if (/\/lxc[./]/.test(cgroup)) return 'lxc';
  // Not user@1000.service, in which whatever a person starts runs.
  const unit = /\/([^/\n]+\.service)$/m.exec(cgroup)?.[1];
  return unit !== undefined && !unit.startsWith('user@') ? 'systemd-service' : null;
}

function driverOf({ read, device }: Sources, name: string, misc: string): DriverFacts {
  const path = `/dev/${name}`;
  const node = device(path);
  if (node === null) return { minor: miscMinor(misc, name), device: null };
  const group = new RegExp(`^([^:]+):[^:]*:${node.gid}:`, 'm').exec(read('/etc/group') ?? '')?.[1] ?? null;
  const isNodev = mountOptions(read('/proc/self/mountinfo') ?? '', path).includes('nodev');
  return { minor: miscMinor(misc, name), device: { ...node, group, isNodev } };
}

/** What the narrowest cgroup has left of something: the limit less what is used. */
function cgroupLeft(
  read: Read,
  cgroup: string,
  controller: string,
  files: readonly (readonly [limit: string, used: string])[],
): number | null {
  let least: number | null = null;
  for (const folder of cgroupFolders(cgroup, controller)) {
    for (const [limit, used] of files) {
      const most = numberIn(read, `/sys/fs/cgroup${folder}/${limit}`);
      if (most === null || most > 2 ** 60) continue; // "max", or what version 1 says for it
      const left = Math.max(0, most - (numberIn(read, `/sys/fs/cgroup${folder}/${used}`) ?? 0));
      if (least === null || left < least) least = left;
    }
  }
  return least;
}

function memoryFacts(read: Read, cgroup: string): HostFacts['memory'] {
  const meminfo = read('/proc/meminfo') ?? '';
  const commitLimit = memoryBytes(meminfo, 'CommitLimit');
  const committed = memoryBytes(meminfo, 'Committed_AS');
  return {
    available: memoryBytes(meminfo, 'MemAvailable'),
    commitLeft: commitLimit === null || committed === null ? null : Math.max(0, commitLimit - committed),
    cgroupLeft: cgroupLeft(read, cgroup, 'memory', [
      ['memory.max', 'memory.current'],
      ['memory.limit_in_bytes', 'memory.usage_in_bytes'],
    ]),
  };
}

function hugepageFacts({ read, list }: Sources): HostFacts['hugepages'] {
  const root = '/sys/kernel/mm/hugepages';
  return list(root).map((name) => ({
    size: Number(/\d+/.exec(name)?.[0]) * 1024,
    total: numberIn(read, `${root}/${name}/nr_hugepages`) ?? 0,
    free: numberIn(read, `${root}/${name}/free_hugepages`) ?? 0,
  }));
}

/** SELinux where it is mounted and gives this process a label; AppArmor where it confines it. */
function labelFacts(read: Read): Pick<HostFacts, 'selinux' | 'apparmor'> {
  const enforce = numberIn(read, '/sys/fs/selinux/enforce');
  const label = (read('/proc/self/attr/current') ?? '').replace(/\0?\s*$/, '');
  const profile = (read('/proc/self/attr/apparmor/current') ?? '').trim();
  const isApparmor = enforce === null && /\((enforce|complain)\)$/.test(profile || label);
  return {
    selinux: enforce === null || label === '' ? null : { label, isEnforcing: enforce === 1 },
    apparmor: isApparmor ? profile || label : null,
  };
}

/** Looks at this host, in a few milliseconds. */
export function gatherFacts(sources: Sources = ownSources()): HostFacts {
  const { read, kernel, uid, groups } = sources;
  const config = read('/proc/config.gz') ?? read(`/boot/config-${kernel}`) ?? read(`/lib/modules/${kernel}/config`);
  const misc = read('/proc/misc') ?? '';
  const cgroup = read('/proc/self/cgroup') ?? '';
  const limits = read('/proc/self/limits') ?? '';
  const cpu = /^(?:flags|Features)\s*:(.*)$/m.exec(read('/proc/cpuinfo') ?? '')?.[1] ?? '';
  const thp = read('/sys/kernel/mm/transparent_hugepage/enabled');
  return {
    kernel,
    arch: sources.arch,
    config: {
      USERFAULTFD: configOption(config, 'CONFIG_USERFAULTFD'),
      KVM: configOption(config, 'CONFIG_KVM'),
    },
    sysctl: {
      unprivilegedUserfaultfd: numberIn(read, '/proc/sys/vm/unprivileged_userfaultfd'),
      overcommitMemory: numberIn(read, '/proc/sys/vm/overcommit_memory'),
      maxMapCount: numberIn(read, '/proc/sys/vm/max_map_count'),
    },
    drivers: { userfaultfd: driverOf(sources, 'userfaultfd', misc), kvm: driverOf(sources, 'kvm', misc) },
    user: { uid, groups },
    status: parseStatus(read('/proc/self/status') ?? ''),
    isInitialUserNamespace: isInitialUserNamespace(read('/proc/self/uid_map') ?? '0 0 4294967295'),
    container: runtimeOf(sources, cgroup),
    ...labelFacts(read),
    cpu: {
      virtualization: (['vmx', 'svm'] as const).find((flag) => cpu.split(' ').includes(flag)) ?? null,
      isVirtual: cpu.split(' ').includes('hypervisor'),
    },
    limits: {
      openFiles: softLimit(limits, 'Max open files'),
      processes: softLimit(limits, 'Max processes'),
      lockedMemory: softLimit(limits, 'Max locked memory'),
      addressSpace: softLimit(limits, 'Max address space'),
    },
    memory: memoryFacts(read, cgroup),
    mappings: read('/proc/self/maps')?.trimEnd().split('\n').length ?? null,
    threadsLeft: cgroupLeft(read, cgroup, 'pids', [['pids.max', 'pids.current']]),
    hugepages: hugepageFacts(sources),
    transparentHugepages: /\[(\w+)\]/.exec(thp ?? '')?.[1] ?? null,
  };
}
