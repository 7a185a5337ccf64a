/** What a recording holds, as tables for people. Pure. */
import Table from 'cli-table3';
import type { FieldValue } from '../inspect/device-fields.js';
import type { DeviceInspection } from '../inspect/device-tally.js';
import type { Inspection, MultifdInspection, ReturnPathInspection, StreamInspection } from '../inspect/inspect.js';
import type { BlockInspection, PageCounts } from '../inspect/ram-tally.js';
import type { MessageInspection } from '../inspect/return-path-summary.js';
import type { CommandInspection, SectionInspection } from '../inspect/stream-summary.js';
import type { Use } from '../inspect/uses.js';
import type { End, Verdict } from '../inspect/verdict.js';
import { stdoutColours as pc } from './colours.js';
import { formatBytes, formatCount } from './size.js';

/** An offset in the stream, in the form that hex viewers show. */
const at = (offset: number): string => `0x${offset.toString(16)}`;

const kinds: Readonly<Record<Inspection['kind'], string>> = {
  main: 'main connection, from the source',
  'main-resumed': 'main connection of a recovery, from the source',
  preempt: 'preempt channel, from the source',
  lane: 'lane, from the source',
  multifd: 'multifd channel, from the source',
  'return-path': 'return path, from the destination',
  unrecognized: 'no connection of a migration',
};

const paint: Readonly<Record<Verdict, (text: string) => string>> = {
  complete: pc.green,
  cut: pc.yellow,
  corrupt: pc.red,
  unsupported: pc.yellow,
  unreadable: pc.red,
};

/** Names of fields are the peer's and may hold anything; a terminal must not see it. */
const printable = (text: string): string => text.replace(/[^ -~]/g, '?');

/** Rows without lines between them, as there may be many. */
function table(head: readonly string[], rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const made = new Table({
    head: [...head],
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    colAligns: head.map((_, column) => (right.includes(column) ? 'right' : 'left')),
  });
  made.push(...rows.map((row) => [...row]));
  return made.toString();
}

/** Names and values, one a line. */
function list(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}

function usesLine(uses: readonly Use[]): string {
  return uses.map(({ capability, offset }) => `${capability} (at ${at(offset)})`).join(', ') || 'nothing that shows';
}

const kindsOfPages = ['normal', 'zero', 'xbzrle', 'compressed'] as const satisfies readonly (keyof PageCounts)[];

function pagesLine(pages: PageCounts): string {
  return kindsOfPages.map((kind) => `${formatCount(pages[kind])} ${kind}`).join(', ');
}

function blocksTable(blocks: readonly BlockInspection[]): string {
  const rows = blocks.map(({ idstr, usedLength, pageSize, pages, distinct, records, discards }) => [
    idstr,
    usedLength === null ? '?' : formatBytes(usedLength),
    pageSize === null ? '' : formatBytes(pageSize),
    pages === null ? '?' : formatCount(pages),
    distinct === null ? 'many' : formatCount(distinct),
    ...kindsOfPages.map((kind) => formatCount(records[kind])),
    formatBytes(discards.bytes),
  ]);
  const head = ['RAM block', 'length', 'page size', 'pages', 'distinct', ...kindsOfPages, 'discarded'];
  return table(head, rows, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

/** The first few names. */
function someOf(names: readonly string[]): string {
  const shown = names.slice(0, 2).join(', ');
  return names.length > 2 ? `${shown} and ${names.length - 2} more` : shown;
}

function commandDetails(command: CommandInspection): string {
  const { value, lastValue, ranges, bytes, blocks, length, idstr, pageSizeSummary, targetPageSize, count } = command;
  const parts = [
    value === undefined ? '' : lastValue === undefined ? at(value) : `${at(value)} to ${at(lastValue)}`,
    pageSizeSummary === undefined ? '' : `page sizes ${at(pageSizeSummary)}, target page ${targetPageSize}`,
    ranges === undefined
      ? ''
      : `${count} commands, ${formatCount(ranges)} ranges, ${formatBytes(bytes ?? 0)} of ${someOf(blocks ?? [])}`,
    length === undefined ? '' : `${formatCount(length)} bytes`,
    idstr ?? '',
  ];
  return parts.filter((part) => part !== '').join(', ');
}

function commandsTable(commands: readonly CommandInspection[]): string {
  return table(
    ['offset', 'command', 'what'],
    commands.map((command) => [
      at(command.offset),
      `${command.packaged ? '  ' : ''}${command.command}`,
      commandDetails(command),
    ]),
    [0],
  );
}

function devicesTable(devices: readonly DeviceInspection[]): string {
  return table(
    ['offset', 'section', 'device', 'instance', 'version', 'bytes', 'fields'],
    devices.map(({ offset, sectionId, name, instanceId, versionId, size, packaged, fields }) => [
      at(offset),
      String(sectionId),
      `${name}${packaged ? ' (in the package)' : ''}`,
      String(instanceId),
      String(versionId),
      formatCount(size),
      fields === null ? '' : String(Object.keys(fields).length),
    ]),
    [0, 1, 3, 4, 5, 6],
  );
}

function more(count: number, what: string): string[] {
  return count === 0 ? [] : [`and ${formatCount(count)} more ${what}`];
}

/** The sections that come in parts: RAM, and other things that move while the guest runs. */
function partedSections(sections: readonly SectionInspection[]): string {
  return sections
    .filter(({ records }) => records.FULL === undefined)
    .map(({ idstr, records, bytes }) => {
      const parts = Object.entries(records).map(([type, count]) => `${formatCount(count)} ${type}`);
      return `${idstr} (${parts.join(', ')}; ${formatBytes(bytes)})`;
    })
    .join(', ');
}

/** What is said once, each with its name; nothing for what the stream does not have. */
function streamFacts(stream: StreamInspection): (readonly [string, string])[] {
  const { configuration, runState, sections, packages, vmDescription } = stream;
  const facts: (readonly [string, string | undefined])[] = [
    ['machine', configuration?.machine],
    ['uuid', configuration?.uuid],
    ['uses', usesLine(stream.uses)],
    ['run state', runState ?? undefined],
    ['sections', partedSections(sections) || undefined],
    ['pages', pagesLine(stream.pages)],
    ...packages.map(
      ({ offset, length, records }) =>
        ['package', `${formatCount(length)} bytes at ${at(offset)}, ${records.length} records`] as const,
    ),
    ['VM description', vmDescription === null ? undefined : `${vmDescription.devices} devices`],
  ];
  return facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
}

function streamTables(stream: StreamInspection): string[] {
  const { blocks, commands, devices, omitted } = stream;
  const problems = new Set(devices.flatMap(({ problem }) => (problem === null ? [] : [problem])));
  return [
    list(streamFacts(stream)),
    ...(blocks.length === 0 ? [] : [blocksTable(blocks)]),
    ...(commands.length === 0 ? [] : [commandsTable(commands)]),
    ...more(omitted.commands, 'commands'),
    ...(devices.length === 0 ? [] : [devicesTable(devices)]),
    ...more(omitted.devices, 'devices'),
    ...(problems.size === 0 ? [] : [`fields are not named: ${printable([...problems].slice(0, 3).join('; '))}`]),
  ];
}

function messageDetails({ value, lastValue, bytes, named, count, idstr, received, bits }: MessageInspection): string {
  const parts = [
    value === undefined ? '' : lastValue === undefined ? at(value) : `${at(value)} to ${at(lastValue)}`,
    bytes === undefined ? '' : `${formatCount(count)} requests, ${formatBytes(bytes)}; ${named} name their block`,
    idstr === undefined ? '' : `${idstr}, ${formatCount(received ?? 0)} of ${formatCount(bits ?? 0)} bits`,
  ];
  return parts.filter((part) => part !== '').join(', ');
}

function returnPathTables({ uses, messages, requests, omitted }: ReturnPathInspection): string[] {
  const messageRows = messages.map((message) => [at(message.offset), message.message, messageDetails(message)]);
  const requestRows = requests.map(({ idstr, requests: count, bytes }) => [
    idstr,
    formatCount(count),
    formatBytes(bytes),
  ]);
  return [
    list([['uses', usesLine(uses)]]),
    table(['offset', 'message', 'what'], messageRows, [0]),
    ...more(omitted.messages, 'messages'),
    ...(requestRows.length === 0 ? [] : [table(['RAM block', 'requests', 'asked for'], requestRows, [1, 2])]),
  ];
}

function multifdTables(channel: MultifdInspection): string[] {
  const compressions = Object.entries(channel.compressions).map(([name, count]) => `${formatCount(count)} ${name}`);
  return [
    list([
      ['channel', `${channel.channel}`],
      ['uuid', `${channel.uuid}`],
      ['uses', usesLine(channel.uses)],
      ['packets', `${formatCount(channel.packets)}, ${formatCount(channel.syncs)} of them to synchronise`],
      ['compression', compressions.join(', ') || 'none'],
      ['pages', pagesLine(channel.pages)],
    ]),
    ...(channel.blocks.length === 0 ? [] : [blocksTable(channel.blocks)]),
  ];
}

/** The verdict in one line: what is wrong, at which offset, in which record and section. */
export function endLine({ verdict, offset, code, within, detail }: End): string {
  const word = paint[verdict](verdict);
  if (verdict === 'complete') return `${word}: ${detail}, ${formatCount(offset)} bytes`;
  if (verdict === 'unreadable') return `${word}: ${detail}`;
  // What a decoder says of damage begins with the record and the offset.
  const where = verdict === 'cut' || code === null ? ` at offset ${offset} (${at(offset)})` : '';
  return `${word}${where}: ${detail}${within === null ? '' : `; in ${within}`}`;
}

/** `name`: that of the file. */
export function inspectTable(name: string, inspection: Inspection): string {
  const { gzip, bytes, kind, end } = inspection;
  const size = inspection.content === 'nothing' ? '' : `, ${formatBytes(bytes)}${gzip ? ' unpacked' : ''}`;
  const title = `${pc.bold(name)}: ${kinds[kind]}${size}`;
  const tables = {
    stream: () => streamTables(inspection as StreamInspection),
    messages: () => returnPathTables(inspection as ReturnPathInspection),
    packets: () => multifdTables(inspection as MultifdInspection),
    nothing: () => [],
  }[inspection.content]();
  return [title, ...tables, endLine(end)].join('\n\n');
}

/** One field a line under its path: `ioredtbl[3]`, `irr.level`. Numbers also in hexadecimal. */
function fieldLines(path: string, value: FieldValue): [string, string][] {
  if (typeof value === 'number') return [[path, value > 9 ? `${value} (${at(value)})` : String(value)]];
  if (typeof value !== 'object') return [[path, String(value)]];
  if (Array.isArray(value)) {
    const scalars = value.every((element) => typeof element !== 'object');
    if (scalars && value.length > 0) return [[path, value.join(' ')]];
    return value.flatMap((element, i) => fieldLines(`${path}[${i}]`, element));
  }
  return Object.entries(value).flatMap(([name, member]) => fieldLines(path === '' ? name : `${path}.${name}`, member));
}

/** A device's state with its fields, or its bytes where they have no names. */
export function deviceText(device: DeviceInspection): string {
  const { name, instanceId, versionId, size, offset, fields, problem, data } = device;
  const title = `${pc.bold(name)} instance ${instanceId} version ${versionId}: ${size} bytes at offset ${at(offset)}`;
  if (fields === null) {
    const lines = (data ?? '').match(/.{1,64}/g) ?? [];
    return [title, printable(problem ?? ''), ...lines.map((line, i) => `${at(32 * i).padStart(8)}  ${line}`)].join(
      '\n',
    );
  }
  const named = fieldLines('', fields).map(([path, value]) => [printable(path), printable(value)] as const);
  return `${title}\n${named.length === 0 ? 'no fields' : list(named)}`;
}
