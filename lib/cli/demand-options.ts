/** Options of `receive` and `demo` that say how pages are asked for in postcopy. */
import { Option } from 'commander';
import { prefetchPolicies, resolvePrefetch } from '../options.js';

export function prefetchOption(): Option {
  return new Option(
    '--prefetch <policy>',
    'what is asked for in postcopy beside a page that was touched: nothing, the 64 KiB around it, or up to 2 MiB too ' +
      'where pages are touched in order',
  )
    .choices(prefetchPolicies)
    .default(resolvePrefetch());
}
