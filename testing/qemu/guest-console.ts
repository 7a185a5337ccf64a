/**
 * The console of the Linux guest (guest-image.ts), and what its writer reports there.
 *
 * A report is one line: `counter 17 writes 3400 sweeps 2 bad 0`. The text is kept as it came, so that the
 * consoles of a source and a destination can be joined: a migration loses no character and repeats none.
 */
import { Heard, type WaitOptions } from './heard.ts';

export interface GuestReport {
  /** One more with every report, ten times a second of the guest's time. */
  readonly counter: number;
  /** Pages written so far. */
  readonly writes: number;
  /** How often every page of the working set has been read and compared. */
  readonly sweeps: number;
  /** Pages found wrong so far. */
  readonly bad: number;
}

const reportLine = /^counter (\d+) writes (\d+) sweeps (\d+) bad (\d+)$/;

function parseReport(line: string): GuestReport | undefined {
  const match = reportLine.exec(line);
  if (match === null) return undefined;
  const [counter, writes, sweeps, bad] = match.slice(1).map(Number);
  return { counter, writes, sweeps, bad };
}

/** The console's lines without their ends, the last one only if it is whole. */
function linesOf(text: string): string[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => line.replace(/\r+$/, ''));
}

/** Every report in a console's text. */
export function reportsIn(text: string): GuestReport[] {
  return linesOf(text).flatMap((line) => parseReport(line) ?? []);
}

/** What is wrong with a guest whose consoles, joined in the order it ran on them, read so; empty if nothing is. */
export function faultsOf(text: string): string[] {
  const lines = linesOf(text);
  const first = lines.findIndex((line) => parseReport(line) !== undefined);
  if (first < 0) return ['the guest reported nothing'];
  let expected = parseReport(lines[first])?.counter ?? 0;
  return lines.slice(first).flatMap((line) => {
    const report = parseReport(line);
    if (report === undefined) return [`no report: ${JSON.stringify(line)}`];
    const faults: string[] = [];
    if (report.counter !== expected) faults.push(`counter ${report.counter} where ${expected} was next`);
    if (report.bad > 0) faults.push(`bad pages: ${line}`);
    expected = report.counter + 1;
    return faults;
  });
}

export class GuestConsole {
  readonly #lines: Heard<string>;
  #text = '';
  #partialLine = '';

  /** `context`: what a failure to hear something should show besides. */
  constructor(who: string, context: () => string) {
    this.#lines = new Heard({ who: `${who}'s console`, show: (line) => line, context });
  }

  /** All of it so far, as it came. */
  get text(): string {
    return this.#text;
  }

  take(text: string): void {
    this.#text += text;
    const all = this.#partialLine + text;
    for (const line of linesOf(all)) this.#lines.add(line);
    this.#partialLine = all.slice(all.lastIndexOf('\n') + 1);
  }

  end(why: string): void {
    this.#lines.end(why);
  }

  /** The first report for which `holds`, past or to come. */
  async report(
    what: string,
    holds: (report: GuestReport) => boolean = () => true,
    options: WaitOptions = {},
  ): Promise<GuestReport> {
    const matches = (line: string): boolean => {
      const report = parseReport(line);
      return report !== undefined && holds(report);
    };
    return parseReport(await this.#lines.first(what, matches, options)) as GuestReport;
  }
}
