/** The capabilities that a stream shows to be on, each with where it first did. */
export interface Use {
  readonly capability: string;
  readonly offset: number;
}

export class Uses {
  readonly #offsets = new Map<string, number>();

  note(capability: string | undefined, offset: number): void {
    if (capability !== undefined && !this.#offsets.has(capability)) this.#offsets.set(capability, offset);
  }

  list(): Use[] {
    return [...this.#offsets].map(([capability, offset]) => ({ capability, offset }));
  }
}
