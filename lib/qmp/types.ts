/** What values QMP has, as tables: those that a command takes and gives, and that an event tells. Pure data. */

export type QmpType =
  | { readonly type: 'string' }
  | { readonly type: 'boolean' }
  | { readonly type: 'number' }
  | { readonly type: 'any' }
  /** A whole number from 0 below 2 to the power of `bits`; what else it has to be is up to the command. */
  | { readonly type: 'integer'; readonly bits: 8 | 64 }
  | { readonly type: 'enum'; readonly values: readonly string[] }
  | { readonly type: 'array'; readonly of: QmpType }
  | { readonly type: 'object'; readonly members: Members };

export type Members = Readonly<Record<string, QmpType & { readonly optional?: true }>>;

type ValueOf<T extends QmpType> = T extends { type: 'string' }
  ? string
  : T extends { type: 'boolean' }
    ? boolean
    : T extends { type: 'integer' | 'number' }
      ? number
      : T extends { type: 'enum'; values: readonly (infer Value)[] }
        ? Value
        : T extends { type: 'array'; of: infer Element extends QmpType }
          ? readonly ValueOf<Element>[]
          : T extends { type: 'object'; members: infer Inner extends Members }
            ? ValueOfMembers<Inner>
            : never;

/** An object with such members. */
export type ValueOfMembers<M extends Members> = {
  readonly [Name in keyof M as M[Name] extends { optional: true } ? never : Name]: ValueOf<M[Name]>;
} & {
  readonly [Name in keyof M as M[Name] extends { optional: true } ? Name : never]?: ValueOf<M[Name]>;
};

export const nothing = { type: 'object', members: {} } as const;

/** The same members, each of which may be absent. */
export function optional(members: Members): Members {
  return Object.fromEntries(Object.entries(members).map(([name, type]) => [name, { ...type, optional: true }]));
}
