/** How vitest runs: over the compiled code as Node loads it, each file in a process of its own but for some. */
import { defineConfig } from 'vitest/config';

/** Of code that only computes and leaves nothing in its process: these share one, as each start takes half a second. */
const computing = [
  'test/{wire,inspect,dashboard/view}/**/*.test.ts',
  'test/cli/!(*-command|main).test.ts',
  'test/doctor/!(facts|proc-files|container).test.ts',
  'test/qmp/{arguments,capabilities,json-*,messages,names,parameters,schema,session}.test.ts',
  'test/source/!(clock|message-reader|*rehearsal|warm-up|source-threads|ram-save|lane*).test.ts',
  'test/destination/{blocktime,capability-check,destination-*,fault-latency,incoming-info,missing-pages}.test.ts',
  'test/destination/{page-collector,page-requested,prefetch,query-migrate,removed-pages,request-ranges}.test.ts',
  'test/bench/{statistics,rounds,html,throughput-limit}.test.ts',
];

export default defineConfig({
  test: {
    pool: 'forks',
    // Each test drives several threads of its own; more at once only makes time limits unreliable.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Workers are started from dist/ by path, so the test must see the same instances of its modules.
    server: { deps: { external: [/\/dist\//, /\.node$/] } },
    projects: [
      {
        extends: true,
        // A process each, as a file may open userfaultfds, leave a vCPU blocked, or count open handles.
        test: { name: 'alone', include: ['test/**/*.test.ts'], exclude: computing },
      },
      { extends: true, test: { name: 'together', include: computing, isolate: false } },
    ],
  },
});
