/** Worker guests, those of WebAssembly too, that a test makes and has closed when it ends. */
import type { WorkerGuest } from '#lib/index.js';

export class MadeGuests<Settings> {
  readonly #kind: { create(settings: Settings): Promise<WorkerGuest> };
  readonly #guests: WorkerGuest[] = [];

  constructor(kind: { create(settings: Settings): Promise<WorkerGuest> }) {
    this.#kind = kind;
  }

  async create(settings: Settings): Promise<WorkerGuest> {
    const guest = await this.#kind.create(settings);
    this.#guests.push(guest);
    return guest;
  }

  async start(settings: Settings): Promise<WorkerGuest> {
    const guest = await this.create(settings);
    await guest.start();
    return guest;
  }

  close(): void {
    for (const guest of this.#guests.splice(0)) guest.close();
  }
}
