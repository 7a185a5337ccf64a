/** Cures are those of the container that the process is in. */
import { expect, test } from 'vitest';
import { deviceCure, labelCure, type Runtime, syscallCure } from '#lib/doctor/container.js';

const runtimes: readonly Runtime[] = [
  ...(['docker', 'podman', 'kubernetes', 'lxc', 'systemd-nspawn', 'systemd-service', 'bubblewrap'] as const),
  'unknown',
];

test.each(runtimes)('in %s each names what is wanted', (runtime) => {
  expect(deviceCure(runtime, '/dev/kvm', 232)).toContain('/dev/kvm');
  expect(syscallCure(runtime, 'userfaultfd')).toContain('userfaultfd');
  expect(labelCure(runtime)).toContain('ausearch');
});

test('no two kinds of container are told the same', () => {
  expect(new Set(runtimes.map((runtime) => deviceCure(runtime, '/dev/kvm', 232))).size).toBe(runtimes.length);
});

test('in none the node is made', () => {
  expect(deviceCure(null, '/dev/kvm', 232)).toBe('"sudo mknod -m 600 /dev/kvm c 10 232"');
  expect(deviceCure(null, '/dev/kvm', null)).not.toContain('mknod');
  expect(syscallCure(null, 'userfaultfd')).toContain('started this process');
});
