/** The page, live or as a report: one document, whose script and style are files of their own or inside it. */
import { readFileSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { describeError, MigrationError } from '../errors.js';
import type { Model } from './model.js';

export interface PageAssets {
  readonly script: string;
  readonly style: string;
}

/** What the build has made of page/. */
export function readPageAssets(): PageAssets {
  const read = (name: string) => readFileSync(new URL(`./${name}`, import.meta.url), 'utf8');
  return { script: read('page.js'), style: read('page.css') };
}

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (text: string): string => text.replace(/[&<>"]/g, (character) => escapes[character]);

function documentOf(title: string, head: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escaped(title)}</title>
<link rel="icon" href="data:,">
${head}
<main id="page"><noscript>This page is drawn by a script of its own.</noscript></main>
${body}
</html>
`;
}

/** The live page, which gets script, style and data from where it is itself. */
export function livePage(title: string): string {
  return documentOf(
    `${title} – postcopy`,
    '<link rel="stylesheet" href="page.css">',
    '<script src="page.js"></script>',
  );
}

/** Everything in one file, which needs nothing else. */
export function reportPage(model: Model, { script, style }: PageAssets): string {
  // Neither may end the element that it is in.
  const data = JSON.stringify(model).replaceAll('<', '\\u003c');
  const code = script.replaceAll('</script', '<\\/script');
  return documentOf(
    `${model.title} – postcopy report`,
    `<style>\n${style}</style>`,
    `<script type="application/json" id="model">${data}</script>\n<script>\n${code}</script>`,
  );
}

/** Writes `text` there, whole or not at all. Rejects with BAD_ARGUMENT. */
export async function writeReport(path: string, text: string): Promise<void> {
  const unfinished = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(unfinished, text);
    await rename(unfinished, path);
  } catch (cause) {
    await rm(unfinished, { force: true });
    throw new MigrationError('BAD_ARGUMENT', `can't write the report ${path}: ${describeError(cause)}`, {
      hint: 'give --report a file in a folder where this user may write, and that has room',
      cause,
    });
  }
}
