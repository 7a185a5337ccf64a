/** Writes man/postcopy.1: `npm run man`, and before npm packs. It is of the commands of dist/ as they are. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commands, createProgram } from '../dist/cli/program.js';
import { manPage } from './man-page.mjs';
import { root } from './toolchain.mjs';

const path = join(root, 'man', 'postcopy.1');
mkdirSync(join(root, 'man'), { recursive: true });
writeFileSync(path, manPage(await createProgram(commands.map(({ name }) => name))));
