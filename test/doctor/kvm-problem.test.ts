/** Each cause for which there is no KVM, from its facts. */
import { expect, test } from 'vitest';
import type { HostFacts } from '#lib/doctor/facts.js';
import { kvmLacks, kvmProblem } from '#lib/doctor/kvm-problem.js';
import { ableHost, asUser } from '../../testing/host-facts.ts';

const kvmOf = (minor: number | null, device: Partial<HostFacts['drivers']['kvm']['device']> | null): HostFacts => {
  const node = ableHost.drivers.kvm.device;
  const kvm = { minor, device: device === null || node === null ? null : { ...node, ...device } };
  return { ...asUser, drivers: { ...ableHost.drivers, kvm } };
};
const unloaded = kvmOf(null, null);
const absent = kvmOf(232, null);

test.each<[string, string, HostFacts, RegExp]>([
  ['kvm-processor', 'ENOTSUP', { ...asUser, arch: 'arm64' }, /x86-64/],
  ['kvm-device-absent', 'ENOENT', { ...absent, container: 'docker' }, /docker run --device \/dev\/kvm/],
  ['kvm-device-absent', 'ENOENT', absent, /mknod -m 600 \/dev\/kvm c 10 232/],
  ['kvm-not-nested', 'ENOENT', { ...unloaded, cpu: { virtualization: null, isVirtual: true } }, /nested=1/],
  ['kvm-switched-off', 'ENOENT', { ...unloaded, cpu: { virtualization: null, isVirtual: false } }, /firmware/],
  ['kvm-not-loaded', 'ENOENT', unloaded, /modprobe kvm_intel/],
  ['kvm-not-loaded', 'ENOENT', { ...unloaded, cpu: { virtualization: 'svm', isVirtual: true } }, /modprobe kvm_amd/],
  ['kvm-nodev', 'EACCES', { ...kvmOf(232, { isNodev: true }), container: 'lxc' }, /lxc config device add NAME kvm/],
  ['kvm-group', 'EACCES', asUser, /usermod -aG kvm \$USER"\), and log in again/],
  ['kvm-group', 'EACCES', { ...asUser, container: 'docker' }, /docker run --group-add 106/],
  ['kvm-group', 'EACCES', kvmOf(232, { group: null }), /usermod -aG 106/],
  ['kvm-group', 'EACCES', kvmOf(232, { mode: 0o600, gid: 0 }), /chgrp kvm \/dev\/kvm .*add the user/],
  ['kvm-group', 'EACCES', { ...kvmOf(232, { mode: 0o600 }), container: 'docker' }, /^on the host, "sudo chgrp/],
  ['kvm-label', 'EACCES', ableHost, /ausearch/],
  ['kvm-cgroup', 'EPERM', asUser, /give the container the device/],
  ['kvm-other', 'EBUSY', ableHost, /other hypervisor/],
  ['kvm-other', 'EIO', ableHost, /dmesg/],
])('%s (%s)', (id, errno, facts, fix) => {
  const problem = kvmProblem(errno, facts);
  expect(problem).toMatchObject({ id, severity: 'warning', effect: expect.stringContaining('stress guest') });
  expect(problem.fix).toMatch(fix);
  expect(problem.fix).toMatch(/--guest stress needs no KVM$/);
  expect(problem.why).not.toBe('');
});

test('one that lacks something names it', () => {
  expect(kvmLacks(12, ['KVM_CAP_SYNC_MMU'], 12).what).toBe('this KVM, of API version 12, lacks KVM_CAP_SYNC_MMU');
  expect(kvmLacks(11, [], 12).what).toBe('this KVM, of API version 11, lacks version 12');
});
