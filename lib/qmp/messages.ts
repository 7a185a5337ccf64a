/** What a QMP server says, as lines of text: greeting, replies, events. And its errors, by class. Pure. */

/** QEMU has some more for commands that are not here; its clients look at these. */
export type QmpErrorClass = 'GenericError' | 'CommandNotFound';

/** What a command is answered with in place of a result. */
export class QmpError extends Error {
  readonly errorClass: QmpErrorClass;

  constructor(description: string, errorClass: QmpErrorClass = 'GenericError') {
    super(description);
    this.name = 'QmpError';
    this.errorClass = errorClass;
  }
}

/** QMP's VersionInfo: the QEMU whose protocol is spoken, and who speaks it. */
export interface QmpVersion {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
  readonly package: string;
}

/** An event's data is absent where it has none. */
export interface QmpEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

const END = '\r\n';

/** There are no capabilities to choose from: commands out of band are not to be had. */
export function greeting(version: QmpVersion): string {
  return JSON.stringify({ QMP: { version, capabilities: [] } }) + END;
}

/** `idText` is the client's id as JSON, repeated as it came. */
export function returned(value: unknown, idText: string | undefined): string {
  const id = idText === undefined ? '' : `, "id": ${idText}`;
  return `{"return": ${JSON.stringify(value)}${id}}${END}`;
}

export function failed({ errorClass, message }: QmpError, idText: string | undefined): string {
  const id = idText === undefined ? '' : `"id": ${idText}, `;
  return `{${id}"error": ${JSON.stringify({ class: errorClass, desc: message })}}${END}`;
}

/** `atMs` is when it was, in milliseconds since 1970, with a fraction. */
export function happened(event: QmpEvent, atMs: number): string {
  const seconds = Math.floor(atMs / 1000);
  const microseconds = Math.floor((atMs - seconds * 1000) * 1000);
  return JSON.stringify({ timestamp: { seconds, microseconds }, ...event }) + END;
}
