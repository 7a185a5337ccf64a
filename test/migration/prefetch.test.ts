/** Pages that are asked for ahead of a fault: a running guest moves with each policy, and after a pause it goes on. */
import { expect, test } from 'vitest';
import { listen, migrate, type PrefetchPolicy, prefetchPolicies, StressGuest } from '#lib/index.js';
import { until } from '../../testing/native-thread.ts';

const memory = 64 * 2 ** 20;
/** So little in the background that the guest's faults bring most of what comes before the pause. */
const SLOW = 2 ** 20;

const move = async (prefetch: PrefetchPolicy, postcopyPreempt: boolean) => {
  const capabilities = { postcopyRam: true, postcopyPreempt };
  using source = await StressGuest.create({ memory, writesPerSecond: 2000 });
  using target = StressGuest.empty({ memory });
  await source.start();
  const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities, prefetch });
  const outgoing = await migrate(source, incoming.uri, {
    capabilities,
    parameters: { maxPostcopyBandwidth: SLOW },
    postcopyAfterPasses: 0,
  });
  const areActive = () => [outgoing.status, incoming.status].every((status) => status === 'postcopy-active');
  await until('pages come', () => areActive() && incoming.info().ram.postcopyRequestsServed > 4);
  incoming.pause();
  await until('both have paused', () =>
    [outgoing.status, incoming.status].every((status) => status === 'postcopy-paused'),
  );
  const { postcopyRequestsServed } = incoming.info().ram;
  await outgoing.recover(await incoming.recover());
  await until('pages come again', () => incoming.info().ram.postcopyRequestsServed > postcopyRequestsServed + 2);
  outgoing.setParameters({ maxPostcopyBandwidth: 0 });
  const [, { ram }] = await Promise.all([outgoing.finished, incoming.finished]);
  await target.stop();
  expect(await target.verify()).toMatchObject({ lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0 });
  return ram;
};

test.each(prefetchPolicies.flatMap((policy) => [false, true].map((preempt) => ({ policy, preempt }))))(
  '$policy, with preempt $preempt',
  async ({ policy, preempt }) => {
    const { postcopyRequests, prefetched } = await move(policy, preempt);
    if (policy === 'none') expect(prefetched).toBe(0);
    else expect(prefetched).toBeGreaterThan(postcopyRequests);
  },
);
