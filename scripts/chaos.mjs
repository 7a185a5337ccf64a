/**
 * Runs testing/chaos/main.ts: `npm run test:chaos [-- options]`. Not by node's --import, which each worker of the
 * engine would carry out as well.
 */
import './typescript.mjs';

await import('../testing/chaos/main.ts');
