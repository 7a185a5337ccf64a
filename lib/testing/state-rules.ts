/** The part of the contract that is about device state: saved, loaded, refused. No migration: RAM is copied. */
import type { Guest } from '../memory/guest.js';
import { type ContractRule, type ContractRun, failureOf, require } from './contract-run.js';

/** Bytes of a state of nonsense where the guest's own is shorter. */
const NONSENSE_BYTES = 16;

/** One that was saved, standing still, with its state. */
async function saved<G extends Guest>(run: ContractRun<G>): Promise<{ readonly guest: G; readonly state: Uint8Array }> {
  const guest = await run.createRunning();
  await run.stop(guest);
  return { guest, state: await save(run, guest) };
}

function save<G extends Guest>(run: ContractRun<G>, guest: G): Promise<Uint8Array> {
  return run.within('saveDeviceState()', guest.saveDeviceState());
}

function load<G extends Guest>(run: ContractRun<G>, guest: G, state: Uint8Array): Promise<void> {
  return run.within('loadDeviceState()', guest.loadDeviceState(state));
}

/** As a migration would have brought it. */
function copyRam(from: Guest, to: Guest): void {
  for (const [index, block] of to.ramBlocks.entries()) block.bytes().set(from.ramBlocks[index].bytes());
}

async function requireTakesOver<G extends Guest>(
  run: ContractRun<G>,
  from: G,
  to: G,
  state: Uint8Array,
): Promise<void> {
  copyRam(from, to);
  await load(run, to, state);
  require(!to.running, 'running is true when a device state was loaded, and nobody has started it');
  await run.requireGoesOn(to);
}

const savedTwice: ContractRule = {
  name: 'saved twice while it stands still, either state can be taken over',
  rule: 'saveDeviceState() changes nothing: a migration that fails is tried again with the same guest.',
  mend: 'Let saving only read; a state that was saved must not make the next one worse.',
  async check(run) {
    const { guest, state } = await saved(run);
    const again = await save(run, guest);
    for (const each of [state, again]) await requireTakesOver(run, guest, await run.empty(), each);
    await run.requireGoesOn(guest);
  },
};

const savedIsACopy: ContractRule = {
  name: 'a saved state stays as it was saved',
  rule: 'The bytes that saveDeviceState() gives are not written any more, whatever the guest does then.',
  mend: 'Give a copy.',
  async check(run) {
    const { guest, state } = await saved(run);
    const copy = state.slice();
    await run.requireGoesOn(guest);
    await save(run, guest);
    require(Buffer.compare(state, copy) === 0, `of ${state.length} bytes some have changed while the guest ran on`);
  },
};

/** What is wrong with each → a state that is no good. */
function badStates<G extends Guest>({ kit }: ContractRun<G>, state: Uint8Array): readonly [string, Uint8Array][] {
  const cuts = new Set([0, state.length >> 1, state.length - 1]);
  const bad = [...cuts]
    .filter((length) => length >= 0 && length < state.length)
    .map((length): [string, Uint8Array] => [`${length} of its ${state.length} bytes`, state.slice(0, length)]);
  const nonsense = Uint8Array.from({ length: Math.max(NONSENSE_BYTES, state.length) }, (_, i) => 0xa5 ^ (i * 7));
  const foreign = kit.foreignStates?.(state) ?? [];
  return [
    ...bad,
    ['nonsense', nonsense],
    ...foreign.map((each, i): [string, Uint8Array] => [`foreign state ${i}`, each]),
  ];
}

const refusesBadStates: ContractRule = {
  name: 'it refuses a device state that is cut, of another version, or nonsense',
  rule: 'loadDeviceState() rejects what saveDeviceState() of this version did not give: the bytes come from a peer.',
  mend: 'Begin the state with a mark, its version and its length, and check all of it before anything is changed.',
  async check(run) {
    const { guest, state } = await saved(run);
    const other = await run.empty();
    copyRam(guest, other);
    for (const [what, bad] of badStates(run, state)) {
      const refusal = await failureOf(load(run, other, bad));
      require(refusal !== undefined, `${what} was taken`);
      require(refusal instanceof Error, `for ${what} it threw ${String(refusal)}, which is no Error`);
    }
  },
};

const survivesBadStates: ContractRule = {
  name: 'a device state that it refuses does it no harm',
  rule: 'A guest that has refused a device state is as it was: it can take over the right one.',
  mend: 'Check all of a state before the first of it is used.',
  async check(run) {
    const { guest, state } = await saved(run);
    const other = await run.empty();
    for (const [, bad] of badStates(run, state)) await failureOf(load(run, other, bad));
    await requireTakesOver(run, guest, other, state);
  },
};

export const stateRules: readonly ContractRule[] = [savedTwice, savedIsACopy, refusesBadStates, survivesBadStates];
