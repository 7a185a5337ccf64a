/**
 * Bytes to the tokens of JSON, cut anywhere: what a QMP client sends, as QEMU reads it. Strings may stand in single
 * quotes. Pure but for what it keeps of a token that is not whole yet, which is bounded.
 *
 * What is no token is one of kind `stray`, up to the byte that was wrong. What follows it is skipped to the next
 * control character or structural one, where a client that begins anew is understood again; or to one that is no text,
 * 0xff, with which a client may make sure of that.
 */
export interface JsonToken {
  /** `structural` is one of `{}[],:`; `overlong` a token above the limit, of which nothing is kept. */
  readonly kind: 'structural' | 'string' | 'number' | 'keyword' | 'stray' | 'overlong';
  /** As it stood there, quotes included. */
  readonly bytes: Uint8Array;
}

/** The first two are between tokens; with the next two one is whole, and nobody has to send more for it to be read. */
const states = [
  'start',
  'skipping',
  'structural',
  'quoted',
  'doubleQuoted',
  'doubleQuotedEscape',
  'singleQuoted',
  'singleQuotedEscape',
  'keyword',
  'minus',
  'zero',
  'integer',
  'point',
  'fraction',
  'exponentMark',
  'exponentSign',
  'exponent',
] as const;
type State = (typeof states)[number];

/** `before`: the token ended before this byte. `wrong`: there is no such token. */
type Step = State | 'before' | 'wrong';

const code = (character: string): number => character.charCodeAt(0);
const [QUOTE, APOSTROPHE, BACKSLASH, MINUS, PLUS, POINT, ZERO] = ['"', "'", '\\', '-', '+', '.', '0'].map(code);
const structural = new Set(['{', '}', '[', ']', ',', ':'].map(code));
const whitespace = new Set([' ', '\t', '\r', '\n'].map(code));
const exponentMarks = new Set(['e', 'E'].map(code));

const isDigit = (byte: number): boolean => byte >= code('0') && byte <= code('9');
const isLetter = (byte: number): boolean => byte >= code('a') && byte <= code('z');
const isControl = (byte: number): boolean => byte < 0x20;
/** No byte of UTF-8, and no control character. */
const isText = (byte: number): boolean => !isControl(byte) && byte < 0xfe;

function atStart(byte: number): Step {
  if (whitespace.has(byte)) return 'start';
  if (structural.has(byte)) return 'structural';
  if (byte === QUOTE) return 'doubleQuoted';
  if (byte === APOSTROPHE) return 'singleQuoted';
  if (byte === MINUS) return 'minus';
  if (byte === ZERO) return 'zero';
  if (isDigit(byte)) return 'integer';
  return isLetter(byte) ? 'keyword' : 'wrong';
}

function quoted(quote: number, here: State, afterBackslash: State): (byte: number) => Step {
  return (byte) => {
    if (byte === quote) return 'quoted';
    if (byte === BACKSLASH) return afterBackslash;
    return isText(byte) ? here : 'wrong';
  };
}

function afterInteger(byte: number): Step {
  if (byte === POINT) return 'point';
  return exponentMarks.has(byte) ? 'exponentMark' : 'before';
}

/** By what has been read of the token, where the next byte leads. */
const steps: Readonly<Record<State, (byte: number) => Step>> = {
  start: atStart,
  skipping: (byte) => (isText(byte) && !structural.has(byte) ? 'skipping' : atStart(byte)),
  structural: () => 'before',
  doubleQuoted: quoted(QUOTE, 'doubleQuoted', 'doubleQuotedEscape'),
  doubleQuotedEscape: (byte) => (isText(byte) ? 'doubleQuoted' : 'wrong'),
  singleQuoted: quoted(APOSTROPHE, 'singleQuoted', 'singleQuotedEscape'),
  singleQuotedEscape: (byte) => (isText(byte) ? 'singleQuoted' : 'wrong'),
  quoted: () => 'before',
  keyword: (byte) => (isLetter(byte) ? 'keyword' : 'before'),
  minus: (byte) => (byte === ZERO ? 'zero' : isDigit(byte) ? 'integer' : 'wrong'),
  zero: (byte) => (isDigit(byte) ? 'wrong' : afterInteger(byte)),
  integer: (byte) => (isDigit(byte) ? 'integer' : afterInteger(byte)),
  point: (byte) => (isDigit(byte) ? 'fraction' : 'wrong'),
  fraction: (byte) => (isDigit(byte) ? 'fraction' : exponentMarks.has(byte) ? 'exponentMark' : 'before'),
  exponentMark: (byte) => (isDigit(byte) ? 'exponent' : byte === MINUS || byte === PLUS ? 'exponentSign' : 'wrong'),
  exponentSign: (byte) => (isDigit(byte) ? 'exponent' : 'wrong'),
  exponent: (byte) => (isDigit(byte) ? 'exponent' : 'before'),
};

/** Of states in which a token may end before the next byte. */
const kinds: Partial<Record<State, JsonToken['kind']>> = {
  structural: 'structural',
  quoted: 'string',
  keyword: 'keyword',
  zero: 'number',
  integer: 'number',
  fraction: 'number',
  exponent: 'number',
};

const START = states.indexOf('start');
const SKIPPING = states.indexOf('skipping');
const QUOTED = states.indexOf('quoted');
const BEFORE = states.length;
const WRONG = states.length + 1;

const BYTES = 256;
/** {@link steps} as numbers, by state and byte: a client may send as fast as it can. */
const stepTable = Uint8Array.from({ length: states.length * BYTES }, (_, index) => {
  const step = steps[states[Math.floor(index / BYTES)]](index % BYTES);
  return [...states, 'before', 'wrong'].indexOf(step);
});

const isToken = (state: number): boolean => state > SKIPPING;
const isWhole = (state: number): boolean => isToken(state) && state <= QUOTED;

/** Room for the begin of a token, before any is too long for it. */
const KEPT_BYTES_LEAST = 64;

export class JsonLexer {
  readonly #bytesMax: number;
  #state = START;
  /** What has come of the token before these bytes. */
  #before = new Uint8Array(KEPT_BYTES_LEAST);
  #beforeBytes = 0;

  /** `bytesMax`: the most that a token may have. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** The tokens that end with or before the last of `bytes`. Must be read to the end. */
  *tokens(bytes: Uint8Array): Generator<JsonToken> {
    let first = 0;
    for (let at = 0; at < bytes.length; ) {
      at = this.#passSame(bytes, at, first);
      if (!isToken(this.#state)) first = at;
      if (at === bytes.length) break;
      const step = stepTable[this.#state * BYTES + bytes[at]];
      if (step === BEFORE) {
        yield this.#end(kinds[states[this.#state]] as JsonToken['kind'], bytes.subarray(first, at), START);
        continue; // the byte begins what comes next
      }
      at += 1;
      if (step === WRONG) {
        yield this.#end('stray', bytes.subarray(first, at), SKIPPING);
      } else {
        this.#state = step;
        if (isWhole(step)) yield this.#end(kinds[states[step]] as JsonToken['kind'], bytes.subarray(first, at), START);
        else if (isToken(step) && this.#beforeBytes + at - first > this.#bytesMax)
          yield this.#end('overlong', new Uint8Array(), SKIPPING);
      }
    }
    if (isToken(this.#state)) this.#keep(bytes.subarray(first));
  }

  /** Past the bytes that change nothing, as most of a long text do; not past where a token is too long. */
  #passSame(bytes: Uint8Array, at: number, first: number): number {
    const row = this.#state * BYTES;
    const end = isToken(this.#state)
      ? Math.min(bytes.length, first + this.#bytesMax - this.#beforeBytes)
      : bytes.length;
    let next = at;
    while (next < end && stepTable[row + bytes[next]] === this.#state) next += 1;
    return next;
  }

  /** Also of a client that sends byte by byte no more than twice its token is kept. */
  #keep(bytes: Uint8Array): void {
    const length = this.#beforeBytes + bytes.length;
    if (length > this.#before.length) {
      const larger = new Uint8Array(2 * length);
      larger.set(this.#before);
      this.#before = larger;
    }
    this.#before.set(bytes, this.#beforeBytes);
    this.#beforeBytes = length;
  }

  #end(kind: JsonToken['kind'], rest: Uint8Array, next: number): JsonToken {
    const isKept = kind !== 'overlong';
    const bytes = isKept ? Buffer.concat([this.#before.subarray(0, this.#beforeBytes), rest]) : rest;
    if (this.#before.length > KEPT_BYTES_LEAST) this.#before = new Uint8Array(KEPT_BYTES_LEAST);
    this.#beforeBytes = 0;
    this.#state = next;
    return { kind, bytes };
  }
}
