/** Which guest the demo takes, on which host. */
import { describe, expect, test } from 'vitest';
import { chooseGuest, type GuestHost, type GuestWish } from '#lib/cli/choose-guest.js';

const able: GuestHost = { kvmProblem: undefined, userfaultfdVia: 'syscall' };
const wish: GuestWish = { guest: 'auto', memory: 2 ** 28, vcpus: 1 };
const noDevice = { what: 'there is no /dev/kvm', fix: 'load the kvm module' };

describe('left open', () => {
  test('a virtual machine where there can be one', () => {
    expect(chooseGuest(wish, able)).toEqual({ guest: 'kvm' });
    expect(chooseGuest(wish, { ...able, userfaultfdVia: 'device' })).toEqual({ guest: 'kvm' });
  });

  test.each<[string, Partial<GuestWish>, Partial<GuestHost>, RegExp]>([
    ['no /dev/kvm', {}, { kvmProblem: noDevice }, /no \/dev\/kvm/],
    ['faults of user mode only', {}, { userfaultfdVia: 'user-mode-only' }, /user mode only/],
    ['more memory than it can have', { memory: 2 ** 33 }, {}, /3\.0 GiB/],
    ['less memory than it needs', { memory: 2 ** 20 }, {}, /2\.0 MiB/],
    ['more vCPUs than it can have', { vcpus: 64 }, {}, /16 vCPUs/],
  ])('%s: the stress guest, and why', (_, wished, host, what) => {
    const choice = chooseGuest({ ...wish, ...wished }, { ...able, ...host });
    expect(choice.guest).toBe('stress');
    expect(choice.because?.what).toMatch(what);
    expect(choice.because?.fix).not.toBe('');
  });
});

test('a KVM guest where there can be none is refused, with the fix', () => {
  const refused = () => chooseGuest({ ...wish, guest: 'kvm' }, { ...able, kvmProblem: noDevice });
  expect(refused).toThrow(expect.objectContaining({ code: 'GUEST_UNAVAILABLE', hint: 'load the kvm module' }));
  expect(refused).toThrow('there is no /dev/kvm');
});

test('who asks for the stress guest gets it without a word', () => {
  expect(chooseGuest({ ...wish, guest: 'stress' }, { ...able, kvmProblem: noDevice })).toEqual({ guest: 'stress' });
});
