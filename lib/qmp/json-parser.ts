/**
 * The tokens of one JSON value to that value, with QEMU's words for what is wrong. Pure.
 *
 * It is no JSON.parse: strings may stand in single quotes, keys may not come twice, and the text of one member is
 * wanted again as it was, as a number of a client's may be larger than JavaScript's are exact.
 */
import type { JsonToken } from './json-lexer.js';

export type JsonObject = { readonly [name: string]: unknown };

/** What is wrong with a value, as QEMU puts it. */
export class JsonError extends Error {
  constructor(what: string) {
    super(`JSON parse error, ${what}`);
    this.name = 'JsonError';
  }
}

/** Characters of what is wrong that are repeated to who sent it. */
const SHOWN_MAX = 256;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lossyUtf8 = new TextDecoder('utf-8', { ignoreBOM: true });

const escapes: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

const keywords = new Map<string, boolean | null>([
  ['true', true],
  ['false', false],
  ['null', null],
]);

/** As much of a token as is shown; QEMU's texts end at a zero. */
export function shown({ bytes }: JsonToken): string {
  const text = lossyUtf8.decode(bytes).split('\0', 1)[0];
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new JsonError('invalid UTF-8 sequence in string');
  }
}

/** The character of `\uXXXX` at `at` in a string's text, or of two that are a surrogate pair; and where it ends. */
function unicodeEscape(text: string, at: number): readonly [character: string, end: number] {
  const one = /^\\u([0-9a-fA-F]{4})(?:\\u([dD][c-fC-F][0-9a-fA-F]{2}))?/.exec(text.slice(at, at + 12));
  if (one !== null) {
    const [, first, second] = one;
    const unit = Number.parseInt(first, 16);
    const isHigh = unit >= 0xd800 && unit < 0xdc00;
    const isLow = unit >= 0xdc00 && unit < 0xe000;
    if (isHigh && second !== undefined) return [String.fromCharCode(unit, Number.parseInt(second, 16)), at + 12];
    if (!isHigh && !isLow) return [String.fromCharCode(unit), at + 6];
  }
  throw new JsonError(`${text.slice(at, at + 6)} is not a valid Unicode character`);
}

function stringOf({ bytes }: JsonToken): string {
  const text = decodeUtf8(bytes);
  const parts: string[] = [];
  let at = 1;
  for (let next = text.indexOf('\\', at); next >= 0; next = text.indexOf('\\', at)) {
    parts.push(text.slice(at, next));
    const escaped = text[next + 1];
    const [character, end] = escaped === 'u' ? unicodeEscape(text, next) : [escapes[escaped], next + 2];
    if (character === undefined) throw new JsonError('invalid escape sequence in string');
    parts.push(character);
    at = end;
  }
  parts.push(text.slice(at, -1));
  return parts.join('');
}

function keywordOf(token: JsonToken): boolean | null {
  const value = keywords.get(lossyUtf8.decode(token.bytes));
  if (value === undefined) throw new JsonError(`invalid keyword '${shown(token)}'`);
  return value;
}

export class JsonParser {
  readonly #tokens: readonly JsonToken[];
  #at = 0;
  /** By name, which tokens are the values of the outermost object's members. */
  readonly #members = new Map<string, readonly [first: number, end: number]>();

  constructor(tokens: readonly JsonToken[]) {
    this.#tokens = tokens;
  }

  /** Throws a {@link JsonError}. Objects have no prototype. */
  parse(): unknown {
    return this.#value(true);
  }

  /** The text of a member of the outermost object, as JSON, with numbers as they stood there. */
  textOf(member: string): string | undefined {
    const range = this.#members.get(member);
    if (range === undefined) return undefined;
    const texts = this.#tokens
      .slice(...range)
      .map((token) => (token.kind === 'string' ? JSON.stringify(stringOf(token)) : lossyUtf8.decode(token.bytes)));
    return texts.join('');
  }

  #value(isOutermost = false): unknown {
    const token = this.#tokens[this.#at];
    this.#at += 1;
    switch (token?.kind) {
      case 'string':
        return stringOf(token);
      case 'number':
        return Number(lossyUtf8.decode(token.bytes));
      case 'keyword':
        return keywordOf(token);
      case 'structural':
        if (token.bytes[0] === 0x7b) return this.#object(isOutermost);
        if (token.bytes[0] === 0x5b) return this.#array();
    }
    throw new JsonError('expecting value');
  }

  #object(isOutermost: boolean): JsonObject {
    const object = Object.create(null) as Record<string, unknown>;
    if (this.#take('}')) return object;
    do {
      const key = this.#value();
      if (typeof key !== 'string') throw new JsonError('key is not a string in object');
      if (!this.#take(':')) throw new JsonError('missing : in object pair');
      const first = this.#at;
      const value = this.#value();
      if (key in object) throw new JsonError('duplicate key');
      object[key] = value;
      if (isOutermost) this.#members.set(key, [first, this.#at]);
    } while (this.#take(','));
    if (!this.#take('}')) throw new JsonError('expected separator in dict');
    return object;
  }

  #array(): readonly unknown[] {
    const array: unknown[] = [];
    if (this.#take(']')) return array;
    do array.push(this.#value());
    while (this.#take(','));
    if (!this.#take(']')) throw new JsonError('expected separator in list');
    return array;
  }

  #take(character: string): boolean {
    const token = this.#tokens[this.#at];
    const isThere = token?.kind === 'structural' && token.bytes[0] === character.charCodeAt(0);
    if (isThere) this.#at += 1;
    return isThere;
  }
}
