/**
 * The live page: an HTTP server that tells every browser that is open what is new of the migrations. A browser that
 * reads slowly misses some of it, and is told all anew.
 */
import type { EventClient } from '../http/event-client.js';
import { type HttpAnswer, LocalServer } from '../http/local-server.js';
import { livePage, readPageAssets } from './html.js';
import type { Model, Run } from './model.js';

export interface LivePageOptions {
  /** Where it listens: `unix:/path` or `tcp:host:port`. */
  readonly uri: string;
  /** Listen also where other hosts can connect. */
  readonly anyHost: boolean;
  /** All that there is to show, now. */
  readonly model: () => Model;
  /** Told when somebody is the first who looks, and when the last who has looked goes. */
  readonly onWatched?: (isWatched: boolean) => void;
}

export class LivePage {
  readonly #server: LocalServer;
  readonly #model: () => Model;
  readonly #onWatched: (isWatched: boolean) => void;
  /** Those that have missed something are true. */
  readonly #clients = new Map<EventClient, boolean>();

  private constructor(server: LocalServer, model: () => Model, onWatched: (isWatched: boolean) => void) {
    this.#server = server;
    this.#model = model;
    this.#onWatched = onWatched;
  }

  /** Rejects as LocalServer's `listen` does. */
  static async open({ uri, anyHost, model, onWatched }: LivePageOptions): Promise<LivePage> {
    const { script, style } = readPageAssets();
    const text = (type: string, body: string): HttpAnswer => ({ type: `${type}; charset=utf-8`, body });
    let onClient = (_client: EventClient): void => {};
    const server = await LocalServer.listen(uri, {
      anyHost,
      shows: 'a view of the guest',
      routes: {
        '/': () => text('text/html', livePage(model().title)),
        '/page.js': () => text('text/javascript', script),
        '/page.css': () => text('text/css', style),
        '/model.json': () => text('application/json', JSON.stringify(model())),
      },
      events: { '/events': (client) => onClient(client) },
    });
    const page = new LivePage(server, model, onWatched ?? (() => {}));
    onClient = (client) => page.#add(client);
    return page;
  }

  get uri(): string {
    return this.#server.uri;
  }

  /** For a browser: `http://host:port/`; of a unix socket its URI. */
  get url(): string {
    return this.#server.url;
  }

  /** Whether anybody looks. */
  get isWatched(): boolean {
    return this.#clients.size > 0;
  }

  /** Tells what is new. */
  tell(updates: readonly Run[]): void {
    let update: string | undefined;
    let model: string | undefined;
    for (const [client, hasMissed] of this.#clients) {
      if (!client.isReady) {
        this.#clients.set(client, true);
      } else if (hasMissed) {
        model ??= JSON.stringify(this.#model());
        client.send('model', model);
        this.#clients.set(client, false);
      } else {
        update ??= JSON.stringify(updates);
        client.send('update', update);
      }
    }
  }

  /** Every browser is told all that there was, and that this was the last. */
  async close(): Promise<void> {
    const model = JSON.stringify(this.#model());
    for (const client of this.#clients.keys()) client.send('end', model);
    await this.#server.close();
  }

  #add(client: EventClient): void {
    this.#clients.set(client, false);
    client.send('model', JSON.stringify(this.#model()));
    if (this.#clients.size === 1) this.#onWatched(true);
    void client.closed.then(() => {
      this.#clients.delete(client);
      if (this.#clients.size === 0) this.#onWatched(false);
    });
  }
}
