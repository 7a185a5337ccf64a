/** Each cause that closes userfaultfd, from its facts, and the cure of each. */
import { describe, expect, test } from 'vitest';
import type { HostFacts } from '#lib/doctor/facts.js';
import { mayOpen, type UserfaultfdWays, userfaultfdProblem } from '#lib/doctor/userfaultfd-problem.js';
import { ableHost, asUser } from '../../testing/host-facts.ts';

const ways = (device: string | null, syscall: string | null, userMode: string | null): UserfaultfdWays => ({
  device,
  syscall,
  'user-mode-only': userMode,
});

const filtered = { ...ableHost.status, seccomp: 'filter', seccompFilters: 1 } as const;
const withoutDevice = { ...ableHost.drivers, userfaultfd: { minor: 126, device: null } };
const unknownDevice = { ...ableHost.drivers, userfaultfd: { minor: null, device: null } };

function told(tried: UserfaultfdWays, facts: HostFacts) {
  const problem = userfaultfdProblem(tried, facts);
  if (problem === undefined) throw new Error('no problem');
  return problem;
}

test('one that covers the kernel’s faults is no problem, by either way', () => {
  expect(userfaultfdProblem(ways(null, 'EPERM', null), asUser)).toBeUndefined();
  expect(userfaultfdProblem(ways('EACCES', null, null), asUser)).toBeUndefined();
});

describe('what closes the system call', () => {
  test.each<[string, UserfaultfdWays, HostFacts, RegExp, RegExp]>([
    [
      'userfaultfd-privilege',
      ways('EACCES', 'EPERM', 'EPERM'),
      { ...asUser, kernel: '5.4.0' },
      /=1, which is 0/,
      /run as root, or "sudo sysctl/,
    ],
    [
      'userfaultfd-seccomp',
      ways('ENOENT', 'EPERM', 'EPERM'),
      { ...ableHost, status: filtered, container: 'docker', drivers: withoutDevice },
      /Seccomp: 2, 1 of them/,
      /^start the container with "docker run --device \/dev\/userfaultfd …", or .*seccomp=FILE/,
    ],
    [
      'userfaultfd-seccomp',
      ways('ENOENT', 'ENOSYS', 'ENOSYS'),
      { ...ableHost, status: { ...filtered, seccompFilters: null }, container: 'podman', drivers: withoutDevice },
      /the kernel has userfaultfd, the call answers ENOSYS.*\(Seccomp: 2 in/,
      /podman run --security-opt/,
    ],
    [
      'userfaultfd-not-built',
      ways('ENOENT', 'ENOSYS', 'ENOSYS'),
      {
        ...ableHost,
        config: { USERFAULTFD: false, KVM: null },
        sysctl: { ...ableHost.sysctl, unprivilegedUserfaultfd: null },
        drivers: unknownDevice,
      },
      /CONFIG_USERFAULTFD is not set/,
      /CONFIG_USERFAULTFD=y/,
    ],
    [
      'userfaultfd-not-built',
      ways('ENOENT', 'ENOSYS', 'ENOSYS'),
      { ...ableHost, kernel: '3.10.0', drivers: unknownDevice },
      /came with Linux 6\.1/,
      /Linux 4\.3/,
    ],
    [
      'userfaultfd-user-namespace',
      ways('ENOENT', 'EPERM', 'ENOENT'),
      { ...ableHost, isInitialUserNamespace: false, drivers: withoutDevice, container: 'podman' },
      /uid_map/,
      /on the host, "sudo sysctl/,
    ],
    [
      'userfaultfd-label',
      ways('EACCES', 'EACCES', 'EACCES'),
      { ...ableHost, selinux: { label: 'container_t', isEnforcing: true }, container: 'podman' },
      /SELinux enforces, and this process is container_t.*though its mode allows it: SELinux/,
      /label=disable/,
    ],
    [
      'userfaultfd-label',
      ways('EACCES', 'EACCES', 'EACCES'),
      { ...ableHost, apparmor: 'x (enforce)' },
      /AppArmor confines this process as x/,
      /ausearch/,
    ],
    [
      'userfaultfd-descriptors',
      ways('EMFILE', 'EMFILE', 'EMFILE'),
      { ...ableHost, limits: { ...ableHost.limits, openFiles: 30 } },
      /limit of this process is 30/,
      /ulimit -n 4096/,
    ],
    ['userfaultfd-descriptors', ways('ENFILE', 'ENFILE', 'ENFILE'), ableHost, /ENFILE/, /fs\.file-max/],
    ['userfaultfd-refused', ways('EPERM', 'EPERM', 'EPERM'), ableHost, /though the privilege is there/, /ausearch/],
    [
      'userfaultfd-refused',
      ways('EPERM', 'EIO', 'EIO'),
      { ...ableHost, status: filtered },
      /Seccomp: 2/,
      /have it allow userfaultfd/,
    ],
  ])('%s', (id, tried, facts, why, fix) => {
    const problem = told(tried, facts);
    expect(problem).toMatchObject({ id, severity: 'error' });
    expect(problem.why).toMatch(why);
    expect(problem.fix).toMatch(fix);
    expect(problem.effect).toMatch(/^no migration/);
  });

  test('root and users are told apart, and who could be given the capability', () => {
    const capless = { ...ableHost, status: asUser.status, container: 'docker', kernel: '5.4.0' } as const;
    const tried = ways('EACCES', 'EPERM', 'EPERM');
    expect(told(tried, capless).what).toMatch(/^root without/);
    expect(told(tried, capless).fix).toContain('--cap-add SYS_PTRACE');
    const user = { ...capless, user: asUser.user };
    expect(told(tried, user).what).toMatch(/^this user may not/);
    expect(told(tried, user).fix).not.toContain('--cap-add');
  });
});

describe('what closes the device', () => {
  const allow = { ...asUser, container: 'docker' } as const;
  const nodev = { ...ableHost.drivers, userfaultfd: { minor: 126, device: { ...node(), isNodev: true } } };
  function node() {
    const { device } = ableHost.drivers.userfaultfd;
    if (device === null) throw new Error('no device');
    return device;
  }

  test.each<[string, string, HostFacts, RegExp, RegExp]>([
    [
      'absent',
      'ENOENT',
      { ...asUser, drivers: withoutDevice },
      /126 in \/proc\/misc/,
      /mknod -m 600 \/dev\/userfaultfd c 10 126/,
    ],
    ['absent, in a container', 'ENOENT', { ...allow, drivers: withoutDevice }, /126/, /docker run --device/],
    [
      'unknown to the kernel',
      'ENOENT',
      { ...asUser, kernel: '5.15.0', drivers: unknownDevice },
      /came with Linux 6\.1/,
      /^run as root/,
    ],
    ['refused by the cgroup', 'EPERM', allow, /whatever its mode/, /docker run --device/],
    ['refused by a cgroup of nobody knows whom', 'EPERM', asUser, /whatever its mode/, /give the container the device/],
    ['on a mount without devices', 'EACCES', { ...allow, drivers: nodev }, /nodev/, /docker run --device/],
    [
      'closed by its mode',
      'EACCES',
      asUser,
      /user 0 and group root with mode 0600, and this is user 1000/,
      /setfacl -m u:1000:rw/,
    ],
    ['closed by its mode, in a container', 'EACCES', allow, /mode 0600/, /chmod 0666 \/dev\/userfaultfd" on the host/],
    [
      'refused though its mode allows it',
      'EACCES',
      { ...asUser, status: { ...asUser.status, capabilities: ['CAP_DAC_OVERRIDE'] } },
      /though its mode/,
      /ausearch/,
    ],
    ['another device', 'ENOTTY', asUser, /node of another device/, /sudo rm .*mknod/],
    ['another device, in a container', 'ENXIO', allow, /ENXIO/, /docker run --device/],
    ['broken in some way', 'EIO', asUser, /answers EIO/, /^run as root/],
  ])('%s', (_, errno, facts, why, fix) => {
    const problem = told(ways(errno, 'EPERM', null), facts);
    expect(problem).toMatchObject({ id: 'userfaultfd-user-mode', severity: 'warning' });
    expect(problem.why).toMatch(why);
    expect(problem.fix).toMatch(fix);
    expect(problem.effect).toMatch(/KVM guest/);
  });
});

test('permission bits are those of owner, group or others, in this order', () => {
  const may = (facts: HostFacts, mode: number, uid: number, gid: number) => {
    const device = { mode, uid, gid, group: null, isCharacterDevice: true, isNodev: false };
    return mayOpen({ ...facts, drivers: { ...facts.drivers, kvm: { minor: 232, device } } }, 'kvm');
  };
  expect(may(asUser, 0o600, 1000, 0)).toBe(true);
  expect(may(asUser, 0o066, 1000, 1000)).toBe(false);
  expect(may(asUser, 0o060, 0, 1000)).toBe(true);
  expect(may(asUser, 0o006, 0, 0)).toBe(true);
  expect(may(asUser, 0o004, 0, 0)).toBe(false);
  expect(may(ableHost, 0, 7, 7)).toBe(true);
  expect(mayOpen({ ...ableHost, drivers: { ...ableHost.drivers, kvm: { minor: 1, device: null } } }, 'kvm')).toBe(
    false,
  );
});
