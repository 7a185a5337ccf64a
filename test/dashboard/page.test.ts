/** The page as a browser shows it: live in a real migration, and as a report; in light and dark, and by keyboard. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readPageAssets, reportPage, writeReport } from '#lib/dashboard/html.js';
import type { Model } from '#lib/dashboard/model.js';
import { Recorder } from '#lib/dashboard/recorder.js';
import { complaintsOf, launchBrowser, pixelsOf } from '../../testing/browser.ts';
import { inCheckout } from '../../testing/checkout.ts';
import { destinationSnapshot, sourceSnapshot } from '../../testing/snapshots.ts';

let browser: Browser;
let folder: string;
let page: Page;
let complaints: readonly string[];
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser.close());
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  page = await browser.newPage({ viewport: { width: 1200, height: 800 } });
  complaints = complaintsOf(page);
});
afterEach(async () => {
  await page.close();
  rmSync(folder, { recursive: true });
  expect(complaints).toEqual([]);
});

const DESTINATION = 'section[aria-label="destination"]';
const SOURCE = 'section[aria-label="source"]';

/** However busy this host is. */
const soon = <T>(look: () => Promise<T>) => expect.poll(look, { timeout: 30_000 });

/** A figure of a side, by its name. */
const figure = (side: string, name: string) =>
  page.locator(`${side} .figures div`, { has: page.locator(`dt:text-is("${name}")`) }).locator('dd');

/** Pages of a side's only block in the column of that name. */
async function pagesIn(side: string, column: string): Promise<number> {
  const heads = await page.locator(`${side} thead th`).allTextContents();
  const cells = await page.locator(`${side} tbody tr`).first().locator('th, td').allTextContents();
  return Number(cells[heads.indexOf(column)]?.replaceAll(',', ''));
}

/** A slow demo with a dashboard; resolved with its address. */
async function watchedDemo(...args: readonly string[]) {
  const demo = execa(
    process.execPath,
    [inCheckout('dist/cli/main.js'), 'demo', '--guest', 'stress', '--dashboard', ...args],
    { reject: false, env: { NO_COLOR: '1' }, timeout: 60_000, stdin: 'ignore' },
  );
  const url = await new Promise<string>((resolve) => {
    demo.stderr.on('data', (chunk: Buffer) => {
      const said = /dashboard at (\S+)/.exec(chunk.toString())?.[1];
      if (said !== undefined) resolve(said);
    });
  });
  return { demo, url };
}

async function showReport(model: Model): Promise<void> {
  const path = join(folder, 'made.html');
  await writeReport(path, reportPage(model, readPageAssets()));
  await page.goto(`file://${path}`);
}

describe('a migration', () => {
  test('is seen live in its states, walked through by keyboard, and kept as a report', async () => {
    const report = join(folder, 'r.html');
    const slow = ['--precopy-passes', '0', '--max-postcopy-bandwidth', '12M/s', '--memory', '64M'];
    const { demo, url } = await watchedDemo(...slow, '--report', report);
    await page.goto(url);
    expect(await page.title()).toBe('demo: 64 MiB of a stress guest over unix – postcopy');
    await page.getByText('source: postcopy-active, destination: postcopy-active').waitFor();
    expect(await page.locator('.connection').textContent()).toBe('live');
    expect(await figure(DESTINATION, 'status').textContent()).toBe('postcopy-active');

    // Pages that faults were for, pages in background, and those that are still missing.
    await soon(() => pagesIn(DESTINATION, 'faulted for')).toBeGreaterThan(0);
    await soon(() => pagesIn(SOURCE, 'sent when asked for')).toBeGreaterThan(0);
    for (const state of ['background', 'faulted', 'discarded']) {
      await soon(() => pixelsOf(page, `${DESTINATION} canvas`, `--page-${state}`)).toBeGreaterThan(0);
    }
    const before = await pagesIn(DESTINATION, 'received in background');
    await soon(() => pagesIn(DESTINATION, 'received in background')).toBeGreaterThan(before);
    expect(await page.locator('.timeline svg').getAttribute('aria-label')).toMatch(
      /^source: setup, active, .*postcopy-active.*; destination: setup, active, postcopy-active/,
    );
    await page.locator('.summary', { hasText: /faults, p50/ }).waitFor();

    await page.locator(`${DESTINATION} canvas`).focus();
    const cell = page.locator(`${DESTINATION} output`);
    await soon(() => cell.textContent()).toMatch(/^stress\.ram, pages 0 to 3 \(from 0 B\): /);
    for (const key of ['ArrowDown', 'ArrowRight', 'End']) await page.keyboard.press(key);
    await soon(() => cell.textContent()).toMatch(/^stress\.ram, pages 16,380 to 16,383 /);
    await page.keyboard.press('Home');
    await soon(() => cell.textContent()).toMatch(/^stress\.ram, pages 0 to 3 /);

    const { exitCode } = await demo;
    expect(exitCode).toBe(0);
    await page.getByText('The process has ended').waitFor();
    await page.getByText('completed: every page is right').waitFor();
    expect(await pagesIn(DESTINATION, 'not yet here')).toBe(0);

    await page.goto(`file://${report}`);
    await page.getByText('completed: every page is right').waitFor();
    expect(await page.title()).toContain('report');
    const [faulted, background] = [
      await pagesIn(DESTINATION, 'faulted for'),
      await pagesIn(DESTINATION, 'received in background'),
    ];
    expect(faulted).toBeGreaterThan(0);
    expect(faulted + background).toBe((64 * 1024) / 4);
    expect(await pixelsOf(page, `${DESTINATION} canvas`, '--page-background')).toBeGreaterThan(0);
    expect(await pixelsOf(page, `${DESTINATION} canvas`, '--page-none')).toBe(0);
    expect(await figure(SOURCE, 'still to be sent').textContent()).toBe('0 B');
    await page.getByText('All events').click();
    const events = (await page.locator('details tbody td:last-child').allTextContents()).join('\n');
    for (const event of ['ping: set-up', 'pong: set-up', 'pong: switchover', 'completed']) {
      expect(events).toContain(event);
    }
  });

  test('that is interrupted has a report that says so', async () => {
    const report = join(folder, 'r.html');
    const { demo, url } = await watchedDemo('--max-bandwidth', '5M/s', '--memory', '64M', '--report', report);
    await page.goto(url);
    await page.getByText('source: active').waitFor();
    demo.kill('SIGINT');
    expect((await demo).exitCode).toBe(130);
    await page.goto(`file://${report}`);
    expect(await page.locator('.state').textContent()).toBe('failed: interrupted: both processes have ended');
    expect(await page.locator('.state').getAttribute('class')).toContain('failed');
    expect(await pagesIn(SOURCE, 'still to be sent')).toBeGreaterThan(0);
  });
});

describe('what is shown', () => {
  const map = { idstr: 'pc.ram', pages: 64, pagesPerCell: 1 };
  const states = (shares: string) => ({
    ...{ background: { pages: 32, shares }, faulted: { pages: 0, shares: '0'.repeat(64) } },
    ...{ discarded: { pages: 0, shares: '0'.repeat(64) }, waiting: { pages: 0, shares: '0'.repeat(64) } },
  });
  const received = [{ ...map, states: states('f'.repeat(32) + '0'.repeat(32)) }];

  function modelOf(...sides: readonly ('source' | 'destination')[]): Model {
    const recorder = new Recorder('a test');
    const id = recorder.begin(0);
    if (sides.includes('source')) recorder.add(id, sourceSnapshot({ atMs: 500 }));
    if (sides.includes('destination')) {
      recorder.add(id, destinationSnapshot({ atMs: 500, map: received, faults: { 100: 3 } }));
      recorder.add(id, destinationSnapshot({ atMs: 900, faults: { 100: 3, 500: 4 } }));
    }
    return recorder.model;
  }

  test('in light and dark, each with its own colours, also when that changes', async () => {
    await page.emulateMedia({ colorScheme: 'light' });
    await showReport(modelOf('destination'));
    const map = `${DESTINATION} canvas`;
    const colours = () => page.evaluate<string>('getComputedStyle(document.documentElement).backgroundColor');
    const light = await colours();
    expect(await pixelsOf(page, map, '--page-background')).toBe(32 * 49);
    await page.emulateMedia({ colorScheme: 'dark' });
    await soon(colours).not.toBe(light);
    await soon(() => pixelsOf(page, map, '--page-background')).toBe(32 * 49);
    await soon(() => pixelsOf(page, map, '--page-none')).toBe(32 * 49);
  });

  test('of a side that is another’s process: that its pages are not known', async () => {
    await showReport(modelOf('destination'));
    expect(await page.locator(SOURCE).textContent()).toContain('which does not tell its pages to this one');
    expect(await page.locator(`${SOURCE} canvas`).count()).toBe(0);
    expect(await page.locator('.blocktime').textContent()).toContain('vCPU 1');
  });

  test('fits a narrow screen', async () => {
    await page.setViewportSize({ width: 400, height: 800 });
    await showReport(modelOf('source', 'destination'));
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(400);
  });

  test('of several migrations the last, or the one that is chosen', async () => {
    const [first, second] = [modelOf('source'), modelOf('destination')];
    await showReport({ title: 'two', runs: [first.runs[0], { ...second.runs[0], id: 2 }] });
    expect(await page.locator('.state').textContent()).toBe('destination: postcopy-active');
    await page.getByRole('combobox', { name: 'which migration' }).selectOption('1');
    expect(await page.locator('.state').textContent()).toBe('source: active');
  });

  /** The element in focus, and its name; as text, as tests know no types of a browser. */
  const focused = `[document.activeElement.tagName,
    document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent]`;

  test('everything that can be used can be come to by keyboard, and has a name', async () => {
    await showReport(modelOf('source', 'destination'));
    const named: string[] = [];
    for (let tab = 0; tab < 12; tab += 1) {
      await page.keyboard.press('Tab');
      const [tag, name] = await page.evaluate<[string, string]>(focused);
      if (tag !== 'BODY') named.push(`${tag}: ${name}`);
    }
    expect(named.some((each) => each.startsWith('CANVAS: Page map of pc.ram at the destination'))).toBe(true);
    expect(named).toContain('SUMMARY: All events');
    expect(named.every((each) => !each.endsWith(': '))).toBe(true);
  });
});
