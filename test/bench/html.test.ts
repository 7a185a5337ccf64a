/** The report as a page: each measure is plotted, and nothing is fetched. */
import { expect, test } from 'vitest';
import { htmlOf, plotsOf } from '../../bench/html.ts';
import type { Report } from '../../bench/report.ts';
import type { ComparisonResult } from '../../bench/rounds.ts';

const spread = (median: number) => ({ least: median / 2, median, most: median * 2 });
const contender = (name: string, median: number) => ({
  name,
  samples: [],
  throughput: spread(median),
  figures: { 'p50 µs': spread(10 * median), 'wall ms': spread(1) },
});
const comparison: ComparisonResult = {
  name: 'postcopy, <unix> & tcp',
  unit: 'MiB',
  baseline: 'theirs',
  limit: 'most',
  compared: ['p50 µs', 'p99 µs'],
  contenders: [contender('theirs', 100), contender('ours', 300), { name: 'most', samples: [], figures: {} }],
};
const report: Report = {
  host: {
    cores: 2,
    processor: 'some',
    memoryMib: 1024,
    kernel: '6.8',
    transparentHugepages: 'madvise',
    node: '20.17.0',
    qemu: '7.2.0',
  },
  options: {
    memoryBytes: 1024 * 1024,
    rounds: 3,
    transports: ['unix'],
    modes: ['postcopy'],
    contents: ['half-zero'],
    quick: false,
  },
  benchmarks: [{ name: 'b', title: 'A title', comparisons: [comparison] }],
};

test('throughput and what is compared have a plot each, of those who have it', () => {
  const [throughput, p50, ...others] = plotsOf(comparison);
  expect(throughput.title).toBe('MiB a second');
  expect(throughput.bars.map(({ name, spread: { median } }) => [name, median])).toEqual([
    ['theirs', 100],
    ['ours', 300],
  ]);
  expect(p50.title).toBe('p50 µs');
  expect(others).toEqual([]);
});

test('the page has a drawing for each plot, all figures, and no more than itself', () => {
  const page = htmlOf(report);
  expect(page.match(/<svg /g)).toHaveLength(2);
  expect(page).toContain('postcopy, &lt;unix&gt; &amp; tcp');
  expect(page).not.toContain('<unix>');
  expect(page).toContain('wall ms 1.00');
  expect(page).not.toMatch(/<script|<link|src=|url\(|@import/);
});
