/**
 * A byte stream, cut anywhere, to one JSON value after the other, within limits; what is none is told in QEMU's words,
 * and what comes behind it is read again. Pure but for what it keeps of a value that is not whole yet.
 */
import { JsonLexer, type JsonToken } from './json-lexer.js';
import { JsonError, JsonParser, shown } from './json-parser.js';

export type JsonItem =
  /** `idText` is the text of its member `id`, where it has one. */
  | { readonly kind: 'value'; readonly value: unknown; readonly idText: string | undefined }
  /** What is wrong. */
  | { readonly kind: 'error'; readonly description: string };

export interface JsonLimits {
  /** Of one value. */
  readonly bytes: number;
  readonly tokens: number;
  /** Objects and arrays in one another. */
  readonly nesting: number;
}

/** QEMU's limit of nesting; of the others a commands' worth, and far from what would be felt in this process. */
export const jsonLimits: JsonLimits = { bytes: 1024 * 1024, tokens: 32 * 1024, nesting: 1024 };

const changes: Readonly<Record<string, readonly [braces: number, brackets: number]>> = {
  '{': [1, 0],
  '}': [-1, 0],
  '[': [0, 1],
  ']': [0, -1],
};

export class JsonStream {
  readonly #limits: JsonLimits;
  readonly #lexer: JsonLexer;
  #tokens: JsonToken[] = [];
  #bytes = 0;
  #braces = 0;
  #brackets = 0;

  constructor(limits = jsonLimits) {
    this.#limits = limits;
    this.#lexer = new JsonLexer(limits.bytes);
  }

  /** What ends with or before the last of `bytes`, as it is asked for. Must be read to the end. */
  *items(bytes: Uint8Array): Generator<JsonItem> {
    for (const token of this.#lexer.tokens(bytes)) {
      const item = this.#take(token);
      if (item !== undefined) yield item;
    }
  }

  #take(token: JsonToken): JsonItem | undefined {
    if (token.kind === 'stray') return this.#fail(new JsonError(`stray '${shown(token)}'`).message);
    if (token.kind === 'overlong') return this.#fail('JSON token size limit exceeded');
    this.#tokens.push(token);
    this.#bytes += token.bytes.length;
    if (token.kind === 'structural') {
      const [braces, brackets] = changes[String.fromCharCode(token.bytes[0])] ?? [0, 0];
      this.#braces += braces;
      this.#brackets += brackets;
    }
    if (this.#isWhole) return this.#parse();
    if (this.#bytes > this.#limits.bytes) return this.#fail('JSON token size limit exceeded');
    if (this.#tokens.length > this.#limits.tokens) return this.#fail('JSON token count limit exceeded');
    if (this.#braces + this.#brackets > this.#limits.nesting) return this.#fail('JSON nesting depth limit exceeded');
    return undefined;
  }

  /** Nothing is open any more, or more has been closed than was open, which nothing to come could mend. */
  get #isWhole(): boolean {
    return this.#braces < 0 || this.#brackets < 0 || (this.#braces === 0 && this.#brackets === 0);
  }

  #parse(): JsonItem {
    const parser = new JsonParser(this.#tokens);
    try {
      const value = parser.parse();
      const idText = parser.textOf('id');
      this.#reset();
      return { kind: 'value', value, idText };
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      return this.#fail(error.message);
    }
  }

  #fail(description: string): JsonItem {
    this.#reset();
    return { kind: 'error', description };
  }

  #reset(): void {
    this.#tokens = [];
    this.#bytes = 0;
    this.#braces = 0;
    this.#brackets = 0;
  }
}
