/** Debian's Chromium, as tests of the page drive it. */
import { type Browser, chromium, type Page } from 'playwright-core';

/** Without a sandbox where root runs it, who may not have one. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.POSTCOPY_CHROMIUM ?? '/usr/bin/chromium',
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
  });
}

/** What a page has said of itself that it should not: errors, and what its policy forbids. */
export function complaintsOf(page: Page): readonly string[] {
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    // The server goes with the process that is watched, before the page does.
    const isExpected = message.text().includes('net::ERR_');
    if (message.type() === 'error' && !isExpected) complaints.push(message.text());
  });
  return complaints;
}

/** Run by the page, so text here: tests know no types of a browser. */
const countPixels = `(canvas, property) => {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(property).trim();
  const wanted = Number.parseInt(hex.slice(1), 16);
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]) === wanted) count += 1;
  }
  return count;
}`;

/** How many pixels of the canvas, in all, have the colour of that property of the style. */
export function pixelsOf(page: Page, canvas: string, property: string): Promise<number> {
  const [selector, name] = [canvas, property].map((text) => JSON.stringify(text));
  return page.evaluate<number>(`(${countPixels})(document.querySelector(${selector}), ${name})`);
}
