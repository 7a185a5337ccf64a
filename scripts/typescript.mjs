/**
 * Lets Node run TypeScript files as they are: `node --import ./scripts/typescript.mjs fuzz/main.ts`. Types are
 * taken away, not checked; that is `npm run lint`. For programs of this repository that are no part of dist/.
 */
import { register } from 'node:module';

register('./typescript-hooks.mjs', import.meta.url);
