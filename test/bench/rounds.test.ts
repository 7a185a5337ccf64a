/** Rounds: who runs when, and what is made of it. */
import { expect, test } from 'vitest';
import { tableOf } from '../../bench/report.ts';
import { runRounds } from '../../bench/rounds.ts';

const contender = (name: string, throughputs: readonly number[]) => {
  let round = 0;
  const run = async () => {
    const throughput = throughputs[round];
    round += 1;
    return { throughput, figures: { 'wall ms': 1000 / throughput } };
  };
  return { name, run };
};

test('every contender runs once a round, there and back, and is held against the baseline of its round', async () => {
  const contenders = [contender('theirs', [10, 20, 40]), contender('ours', [20, 20, 20])];
  const ran: string[] = [];
  const result = await runRounds({ name: 'c', baseline: 'theirs', contenders }, 3, ({ name }, round) => {
    ran.push(`${name} ${round}`);
  });
  expect(ran).toEqual(['theirs 0', 'ours 0', 'ours 1', 'theirs 1', 'theirs 2', 'ours 2']);
  const [theirs, ours] = result.contenders;
  expect(theirs.ratio).toBeUndefined();
  expect(theirs.throughput).toEqual({ least: 10, median: 20, most: 40 });
  expect(ours.ratio).toEqual({ least: 0.5, median: 1, most: 2 });
  expect(ours.figures['wall ms']).toEqual({ least: 50, median: 50, most: 50 });
});

test('each has its part of the limit of its round, and what is not measured is not told', async () => {
  const figuresOnly = { name: 'silent', run: async () => ({ figures: { 'downtime ms': 4 } }) };
  const contenders = [contender('theirs', [10, 10]), contender('most', [40, 80]), figuresOnly];
  const comparison = { name: 'c', baseline: 'theirs', limit: 'most', compared: ['downtime ms'], contenders };
  const [theirs, most, silent] = (await runRounds(comparison, 2, () => {})).contenders;
  expect(theirs.ofLimit).toEqual({ least: 0.125, median: 0.1875, most: 0.25 });
  expect(most.ofLimit).toBeUndefined();
  expect(most.ratio).toEqual({ least: 4, median: 6, most: 8 });
  expect([silent.throughput, silent.ratio, silent.ofLimit]).toEqual([undefined, undefined, undefined]);
});

test('what cannot be measured is not run, and why is told', async () => {
  const contenders = [contender('theirs', [])];
  const unavailable = 'it takes root';
  const result = await runRounds({ name: 'c', contenders, unavailable }, 3, () => {});
  expect(result.contenders).toEqual([]);
  const text = tableOf({ name: 'b', title: 'A title', comparisons: [result] });
  expect(text.split('\n').at(-1)).toMatch(/^\| c +\|.*\| not measured: it takes root +\|$/);
});

test('a contender that fails ends the comparison', async () => {
  const failing = {
    name: 'ours',
    run: async () => {
      throw new Error('the RAM is not the same');
    },
  };
  await expect(runRounds({ name: 'c', contenders: [failing] }, 1, () => {})).rejects.toThrow('RAM is not the same');
});
