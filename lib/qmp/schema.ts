/** The answer to query-qmp-schema: commands and events here, from their tables, as QEMU tells its own. Pure. */
import type { QmpCommands } from './session.js';
import type { Members, QmpType } from './types.js';

/** One of QMP's SchemaInfo. */
export interface SchemaEntry {
  readonly 'meta-type': 'builtin' | 'enum' | 'array' | 'object' | 'command' | 'event';
  readonly name: string;
  readonly [more: string]: unknown;
}

/** What JSON has for each of them. */
const builtins = { str: 'string', int: 'int', bool: 'boolean', number: 'number', any: 'value' } as const;
const builtinOf = { string: 'str', integer: 'int', boolean: 'bool', number: 'number', any: 'any' } as const;

/** Types under names that say nothing, as QEMU has them; the same type has one. */
class Types {
  readonly #named = new Map<string, SchemaEntry>();

  get entries(): SchemaEntry[] {
    return [...this.#named.values()];
  }

  nameOf(type: QmpType): string {
    switch (type.type) {
      case 'enum':
        return this.#add({ 'meta-type': 'enum', members: type.values.map((name) => ({ name })), values: type.values });
      case 'array': {
        const element = this.nameOf(type.of);
        return this.#add({ 'meta-type': 'array', 'element-type': element }, `[${element}]`);
      }
      case 'object':
        return this.#add({ 'meta-type': 'object', members: this.#members(type.members) });
      default: {
        const name = builtinOf[type.type];
        return this.#add({ 'meta-type': 'builtin', 'json-type': builtins[name] }, name);
      }
    }
  }

  /** A member that may be absent has the default null. */
  #members(members: Members): object[] {
    return Object.entries(members).map(([name, type]) => ({
      name,
      ...(type.optional ? { default: null } : {}),
      type: this.nameOf(type),
    }));
  }

  #add(entry: Omit<SchemaEntry, 'name'>, name?: string): string {
    const key = JSON.stringify(entry);
    const known = this.#named.get(key);
    if (known !== undefined) return known.name;
    const named = { ...entry, name: name ?? String(this.#named.size) } as SchemaEntry;
    this.#named.set(key, named);
    return named.name;
  }
}

/** `events` by name: what each tells. */
export function schema(commands: QmpCommands, events: Readonly<Record<string, QmpType>>): SchemaEntry[] {
  const types = new Types();
  const called = [...commands].map(([name, { takes, gives }]) => ({
    name,
    'meta-type': 'command' as const,
    'arg-type': types.nameOf({ type: 'object', members: takes }),
    'ret-type': types.nameOf(gives),
  }));
  const told = Object.entries(events).map(([name, data]) => ({
    name,
    'meta-type': 'event' as const,
    'arg-type': types.nameOf(data),
  }));
  return [...called, ...told, ...types.entries];
}
