/** Options of `receive`, `send` and `demo` that say how pages are asked for in postcopy. */
import { Option } from 'commander';
import { prefetchPolicies, resolvePrefetch } from '../options.js';
import { MAX_LANES } from '../wire/protocol.js';
import { number } from './command-line.js';

export function prefetchOption(): Option {
  return new Option(
    '--prefetch <policy>',
    'what is asked for in postcopy beside a page that was touched: nothing, the 64 KiB around it, or up to 2 MiB too ' +
      'where pages are touched in order',
  )
    .choices(prefetchPolicies)
    .default(resolvePrefetch());
}

export function lanesOption(): Option {
  return new Option(
    '--lanes <n>',
    'connections on which pages are asked for and sent, between two of ours; at both sides',
  )
    .argParser(number(0, MAX_LANES))
    .default(0);
}
