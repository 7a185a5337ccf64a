/** A client's arguments held against the table of what a command takes, with QEMU's words. Pure. */
import type { JsonObject } from './json-parser.js';
import { QmpError } from './messages.js';
import type { Members, QmpType, ValueOfMembers } from './types.js';

const integerNames = { 8: 'uint8_t', 64: 'uint64' } as const;

function expected(path: string, what: string): QmpError {
  return new QmpError(`Invalid parameter type for '${path}', expected: ${what}`);
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function checkMembers(given: JsonObject, members: Members, path: string): void {
  for (const [name, type] of Object.entries(members)) {
    if (name in given) checkValue(given[name], type, `${path}${name}`, name);
    else if (!type.optional) throw new QmpError(`Parameter '${path}${name}' is missing`);
  }
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(members, name)) throw new QmpError(`Parameter '${path}${name}' is unexpected`);
  }
}

/** `path` leads to the value from the command's arguments; `name` is its last step. */
function checkValue(value: unknown, type: QmpType, path: string, name: string): void {
  switch (type.type) {
    case 'string':
    case 'boolean':
    case 'number':
      if (typeof value !== type.type) throw expected(path, type.type);
      return;
    case 'any':
      return;
    case 'integer':
      if (!Number.isInteger(value) || (value as number) < 0 || (value as number) >= 2 ** type.bits)
        throw new QmpError(`Parameter '${path}' expects ${integerNames[type.bits]}`);
      return;
    case 'enum':
      if (typeof value !== 'string') throw expected(path, 'string');
      if (!type.values.includes(value)) throw new QmpError(`Parameter '${name}' does not accept value '${value}'`);
      return;
    case 'array':
      if (!Array.isArray(value)) throw expected(path, 'array');
      for (const [index, element] of value.entries()) checkValue(element, type.of, `${path}[${index}]`, name);
      return;
    case 'object':
      if (!isObject(value)) throw expected(path, 'object');
      checkMembers(value, type.members, `${path}.`);
  }
}

/** Throws a {@link QmpError} that names the first one that is missing, of the wrong type, or not known. */
export function checkArguments<M extends Members>(given: JsonObject, members: M): ValueOfMembers<M> {
  checkMembers(given, members, '');
  return given as ValueOfMembers<M>;
}
