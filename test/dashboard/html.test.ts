/** The document: nothing that is shown can end what it is in, and a report is written whole or not at all. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { livePage, readPageAssets, reportPage, writeReport } from '#lib/dashboard/html.js';
import type { Model } from '#lib/dashboard/model.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a live page takes all from where it is itself', () => {
  const page = livePage('<b>&"');
  expect(page).toContain('<title>&lt;b&gt;&amp;&quot; – postcopy</title>');
  expect(page.match(/(?:src|href)="[^"]*"/g)).toEqual(['href="data:,"', 'href="page.css"', 'src="page.js"']);
});

test('a report holds its data, whatever that is, and asks nobody for anything', () => {
  const outcome = { isSuccess: false, text: '</script><script>alert(1)</script><!--' };
  const model: Model = {
    title: '</title>',
    runs: [{ id: 1, startedMs: 0, outcome, source: null, destination: null }],
  };
  const page = reportPage(model, { script: "const a = '</script>';", style: 'p { color: red }' });
  const data = /<script type="application\/json" id="model">(.*?)<\/script>/s.exec(page)?.[1] ?? '';
  expect(JSON.parse(data)).toEqual(model);
  expect(page.match(/<\/script>/g)).toHaveLength(2);
  expect(page).not.toContain('alert(1)</script>');
  const whole = reportPage({ title: 'a', runs: [] }, readPageAssets());
  expect(whole).not.toMatch(/<script[^>]* src=|<link rel="stylesheet"|@import|url\((?!data:)/);
});

test('is written in the place of what was there, and leaves nothing else', async () => {
  const path = join(folder, 'r.html');
  await writeReport(path, 'one');
  await writeReport(path, 'two');
  expect(readFileSync(path, 'utf8')).toBe('two');
  expect(readdirSync(folder)).toEqual(['r.html']);
  await expect(writeReport(join(folder, 'none', 'r.html'), 'three')).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  await expect(writeReport(folder, 'four')).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  expect(readdirSync(folder)).toEqual(['r.html']);
});
