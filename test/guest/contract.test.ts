/** The guests that come with it, held against the contract of docs/guests.md. The stress guest is in test/testing/. */
import { describe, test } from 'vitest';
import { guestContract } from '#lib/testing/index.js';
import { kvmKit, shape } from '../../testing/kvm-guests.ts';
import { turnsKit } from '../../testing/wasm-guests.ts';
import { stripesKit } from '../../testing/worker-guests.ts';

const contracts = {
  'a KVM guest': guestContract(kvmKit({ ...shape, program: 'random' })),
  'a worker guest': guestContract(stripesKit),
  'a WebAssembly guest': guestContract(turnsKit),
};

describe.each(Object.entries(contracts))('%s', (_, checks) => {
  test.each([...checks])('$name', { timeout: 60_000 }, ({ run }) => run());
});
