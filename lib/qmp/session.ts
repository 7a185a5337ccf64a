/**
 * One client's side of QMP: capabilities negotiation first, then commands, each answered before the next is looked at.
 * Knows nothing of sockets, nor of what the commands do.
 */
import { describeError } from '../errors.js';
import { checkArguments } from './arguments.js';
import type { JsonObject } from './json-parser.js';
import type { JsonItem } from './json-stream.js';
import { failed, QmpError, returned } from './messages.js';
import { type Members, nothing, type QmpType, type ValueOfMembers } from './types.js';

export interface QmpCommand {
  readonly takes: Members;
  /** What its result is. */
  readonly gives: QmpType;
  /** Its result. Throws a QmpError, or what describes itself. */
  readonly run: (given: never) => unknown;
}

/** By name. */
export type QmpCommands = ReadonlyMap<string, QmpCommand>;

/** A command, with its arguments' types from the table of what it takes. */
export function command<M extends Members>(
  takes: M,
  run: (given: ValueOfMembers<M>) => unknown,
  gives: QmpType = nothing,
): QmpCommand {
  return { takes, gives, run };
}

export const NEGOTIATION = 'qmp_capabilities';
export const negotiation = { enable: { type: 'array', of: { type: 'enum', values: [] }, optional: true } } as const;

interface Call {
  readonly name: string;
  readonly given: JsonObject;
}

/** A request's own members. Throws a QmpError. */
function callOf(value: unknown): Call {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new QmpError('QMP input must be a JSON object');
  const request = value as JsonObject;
  for (const [name, member] of Object.entries(request)) {
    if (name === 'execute' && typeof member !== 'string')
      throw new QmpError("QMP input member 'execute' must be a string");
    if (name === 'arguments' && (typeof member !== 'object' || member === null || Array.isArray(member)))
      throw new QmpError("QMP input member 'arguments' must be an object");
    if (!['execute', 'arguments', 'id'].includes(name)) throw new QmpError(`QMP input member '${name}' is unexpected`);
  }
  if (request.execute === undefined) throw new QmpError("QMP input lacks member 'execute'");
  return { name: request.execute as string, given: (request.arguments ?? {}) as JsonObject };
}

export class QmpSession {
  readonly #commands: QmpCommands;
  #isNegotiated = false;

  constructor(commands: QmpCommands) {
    this.#commands = commands;
  }

  /** Whether commands are taken, and events are to be told. */
  get isNegotiated(): boolean {
    return this.#isNegotiated;
  }

  /** What the client is told in answer. Never rejects. */
  async answer(item: JsonItem): Promise<string> {
    if (item.kind === 'error') return failed(new QmpError(item.description), undefined);
    try {
      return returned((await this.#call(callOf(item.value))) ?? {}, item.idText);
    } catch (error) {
      return failed(error instanceof QmpError ? error : new QmpError(describeError(error)), item.idText);
    }
  }

  #call({ name, given }: Call): unknown {
    if (!this.#isNegotiated) {
      if (name !== NEGOTIATION)
        throw new QmpError(`Expecting capabilities negotiation with '${NEGOTIATION}'`, 'CommandNotFound');
      checkArguments(given, negotiation);
      this.#isNegotiated = true;
      return {};
    }
    if (name === NEGOTIATION)
      throw new QmpError('Capabilities negotiation is already complete, command ignored', 'CommandNotFound');
    const called = this.#commands.get(name);
    if (called === undefined) throw new QmpError(`The command ${name} has not been found`, 'CommandNotFound');
    return called.run(checkArguments(given, called.takes) as never);
  }
}
