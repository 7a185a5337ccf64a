/** Facts, from the files of hosts and containers of every kind, and from this host. */
import { release } from 'node:os';
import { describe, expect, test } from 'vitest';
import { gatherFacts, type Sources } from '#lib/doctor/facts.js';

/** A host that has these files only. */
function hostOf(files: Readonly<Record<string, string>>, more: Partial<Sources> = {}): Sources {
  return {
    read: (path) => files[path] ?? null,
    list: () => [],
    device: () => null,
    kernel: '6.1.0',
    arch: 'x64',
    uid: 1000,
    groups: [1000],
    environment: {},
    ...more,
  };
}

test('this host, as plain data', () => {
  const facts = gatherFacts();
  expect(facts).toMatchObject({ kernel: release(), user: { uid: process.geteuid?.() } });
  expect(facts.memory.available).toBeGreaterThan(2 ** 20);
  expect(facts.mappings).toBeGreaterThan(10);
  expect(facts.limits.openFiles).not.toBe(0);
  expect(JSON.parse(JSON.stringify(facts))).toEqual(facts);
});

test('a host that can’t be read is one of which nothing is known', () => {
  const facts = gatherFacts(hostOf({}));
  expect(facts).toMatchObject({ container: null, selinux: null, apparmor: null, mappings: null, threadsLeft: null });
  expect(facts.isInitialUserNamespace).toBe(true);
  expect(facts.drivers.kvm).toEqual({ minor: null, device: null });
});

describe('what it is contained in', () => {
  test.each<[string, Readonly<Record<string, string>>, Readonly<Record<string, string>>]>([
    ['docker', { '/.dockerenv': '' }, {}],
    ['podman', { '/run/.containerenv': '' }, {}],
    ['podman', {}, { container: 'podman' }],
    ['lxc', {}, { container: 'lxc' }],
    ['lxc', { '/proc/self/cgroup': '0::/lxc.payload.x/init.scope\n' }, {}],
    ['kubernetes', { '/.dockerenv': '', '/proc/self/cgroup': '0::/kubepods/besteffort/pod1/2\n' }, {}],
    ['kubernetes', {}, { KUBERNETES_SERVICE_HOST: '10.0.0.1' }],
    ['systemd-service', { '/proc/self/cgroup': '0::/system.slice/migrate.service\n' }, {}],
    ['unknown', {}, { container: 'something' }],
  ])('%s', (container, files, environment) => {
    expect(gatherFacts(hostOf(files, { environment })).container).toBe(container);
  });

  test('nothing, where a person is logged in', () => {
    const cgroup = '0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope\n';
    expect(gatherFacts(hostOf({ '/proc/self/cgroup': cgroup })).container).toBeNull();
    expect(gatherFacts(hostOf({ '/proc/self/cgroup': '0::/user.slice/user@1000.service\n' })).container).toBeNull();
  });
});

test('the memory that is left is that of the narrowest cgroup, of either version', () => {
  const v2 = {
    '/proc/self/cgroup': '0::/a/b\n',
    '/sys/fs/cgroup/a/memory.max': '1000\n',
    '/sys/fs/cgroup/a/memory.current': '400\n',
    '/sys/fs/cgroup/a/b/memory.max': 'max\n',
    '/sys/fs/cgroup/a/b/pids.max': '64\n',
    '/sys/fs/cgroup/a/b/pids.current': '4\n',
  };
  expect(gatherFacts(hostOf(v2))).toMatchObject({ memory: { cgroupLeft: 600 }, threadsLeft: 60 });
  const v1 = {
    '/proc/self/cgroup': '4:memory:/x\n',
    '/sys/fs/cgroup/memory/x/memory.limit_in_bytes': '9223372036854771712\n',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes': '5000\n',
    '/sys/fs/cgroup/memory/memory.usage_in_bytes': '6000\n',
  };
  expect(gatherFacts(hostOf(v1)).memory.cgroupLeft).toBe(0);
});

test('security labels', () => {
  const selinux = { '/sys/fs/selinux/enforce': '1', '/proc/self/attr/current': 'system_u:system_r:container_t:s0\0' };
  expect(gatherFacts(hostOf(selinux)).selinux).toEqual({
    label: 'system_u:system_r:container_t:s0',
    isEnforcing: true,
  });
  const apparmor = gatherFacts(hostOf({ '/proc/self/attr/current': 'docker-default (enforce)\n' }));
  expect(apparmor).toMatchObject({ apparmor: 'docker-default (enforce)', selinux: null });
  expect(gatherFacts(hostOf({ '/proc/self/attr/current': 'unconfined\n' })).apparmor).toBeNull();
});

test('a device with its group and its mount', () => {
  const files = {
    '/proc/misc': '232 kvm\n',
    '/etc/group': 'root:x:0:\nkvm:x:106:\n',
    '/proc/self/mountinfo': '1 0 8:1 / /dev rw,nodev - tmpfs none rw',
  };
  const node = { mode: 0o660, uid: 0, gid: 106, isCharacterDevice: true };
  const device = (path: string) => (path === '/dev/kvm' ? node : null);
  expect(gatherFacts(hostOf(files, { device })).drivers).toEqual({
    kvm: { minor: 232, device: { ...node, group: 'kvm', isNodev: true } },
    userfaultfd: { minor: null, device: null },
  });
});

test('processor, huge pages and build of the kernel', () => {
  const root = '/sys/kernel/mm/hugepages';
  const files = {
    '/proc/cpuinfo': 'processor\t: 0\nflags\t\t: fpu vme svm hypervisor\n',
    '/sys/kernel/mm/transparent_hugepage/enabled': 'always [madvise] never\n',
    [`${root}/hugepages-2048kB/nr_hugepages`]: '8\n',
    [`${root}/hugepages-2048kB/free_hugepages`]: '3\n',
    '/boot/config-6.1.0': '# CONFIG_USERFAULTFD is not set\nCONFIG_KVM=m\n',
  };
  const facts = gatherFacts(hostOf(files, { list: (path) => (path === root ? ['hugepages-2048kB'] : []) }));
  expect(facts).toMatchObject({
    cpu: { virtualization: 'svm', isVirtual: true },
    transparentHugepages: 'madvise',
    hugepages: [{ size: 2 ** 21, total: 8, free: 3 }],
    config: { USERFAULTFD: false, KVM: true },
  });
});
