/** Whether there is a KVM for our machines: each way that there is none, with what to do. */
import { afterEach, expect, test, vi } from 'vitest';
import { probeKvm } from '#lib/host/kvm.js';
import { native } from '#lib/native.js';

afterEach(() => {
  vi.restoreAllMocks();
});

function failWith(call: 'kvmApiVersion' | 'kvmMissing', code: string): void {
  vi.spyOn(native(), call).mockImplementation(() => {
    throw Object.assign(new Error(code), { code });
  });
}

test('this host has one, or a problem with a way out', () => {
  const { available, problem } = probeKvm();
  expect(problem === undefined).toBe(available);
});

test.each([
  ['ENOENT', 'there is no /dev/kvm'],
  ['EPERM', 'the device cgroup does not allow /dev/kvm'],
  ['EBUSY', '/dev/kvm does not open (EBUSY)'],
])('opening it fails with %s', (code, what) => {
  failWith('kvmApiVersion', code);
  expect(probeKvm()).toEqual({
    available: false,
    apiVersion: null,
    problem: expect.objectContaining({
      what: expect.stringContaining(what),
      fix: expect.stringContaining('--guest stress'),
    }),
  });
});

test('another processor runs no machines of x86-64', () => {
  vi.spyOn(native(), 'kvmApiVersion').mockReturnValue(12);
  failWith('kvmMissing', 'ENOTSUP');
  expect(probeKvm().problem?.what).toContain('x86-64');
});

test('one that lacks something names it', () => {
  vi.spyOn(native(), 'kvmApiVersion').mockReturnValue(12);
  vi.spyOn(native(), 'kvmMissing').mockReturnValue(['KVM_CAP_SYNC_MMU']);
  expect(probeKvm().problem?.what).toBe('this KVM, of API version 12, lacks KVM_CAP_SYNC_MMU');
  vi.spyOn(native(), 'kvmApiVersion').mockReturnValue(11);
  vi.spyOn(native(), 'kvmMissing').mockReturnValue([]);
  expect(probeKvm().problem?.what).toBe('this KVM, of API version 11, lacks version 12');
});
