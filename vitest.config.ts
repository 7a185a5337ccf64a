/** How vitest runs: each file of tests in a process of its own, over the compiled code as Node loads it. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A process each, as a file may open userfaultfds, leave a vCPU blocked, or count open handles.
    pool: 'forks',
    // Each test drives several threads of its own; more at once only makes time limits unreliable.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Workers are started from dist/ by path, so the test must see the same instances of its modules.
    server: { deps: { external: [/\/dist\//, /\.node$/] } },
  },
});
