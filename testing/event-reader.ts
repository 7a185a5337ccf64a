/** Reads server-sent events from an answer, one after the other. */
import type { Readable } from 'node:stream';

export interface ServerEvent {
  readonly event: string;
  /** Read as JSON. */
  readonly data: unknown;
}

export class EventReader {
  readonly #events: AsyncGenerator<ServerEvent>;

  constructor(response: Readable) {
    this.#events = eventsOf(response.setEncoding('utf8'));
  }

  /** Rejects at the end. */
  async next(): Promise<ServerEvent> {
    const { value, done } = await this.#events.next();
    if (done) throw new Error('there are no more events');
    return value;
  }
}

async function* eventsOf(response: Readable): AsyncGenerator<ServerEvent> {
  const parts: string[] = [];
  for await (const text of response) {
    parts.push(text as string);
    if (!(text as string).includes('\n')) continue;
    const blocks = parts.join('').split('\n\n');
    parts.splice(0, parts.length, blocks.pop() ?? '');
    for (const block of blocks) {
      const { event, data } = /^event: (?<event>.*)\ndata: (?<data>.*)$/.exec(block)?.groups ?? {};
      if (event !== undefined) yield { event, data: JSON.parse(data) };
    }
  }
}
