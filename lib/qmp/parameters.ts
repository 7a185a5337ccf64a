/** QMP's migration parameters, as far as the engine has them, with QEMU's words for what is out of range. Pure. */
import { defaultParameters, type Parameters, parameterRange } from '../options.js';
import { QmpError } from './messages.js';
import { toQmpName } from './names.js';
import { type Members, optional } from './types.js';

type Name = keyof Parameters;

const names = Object.keys(defaultParameters) as Name[];

/** All of them; the percentages in a byte, as in QEMU. */
const parameterMembers: Members = Object.fromEntries(
  names.map((name) => {
    const [, most] = parameterRange[name];
    return [toQmpName(name), { type: 'integer', bits: most < 256 ? 8 : 64 }];
  }),
);

/** What migrate-set-parameters takes. */
export const someParameters = optional(parameterMembers);

/** Where QEMU writes a range in its own way. */
const ranges: Partial<Readonly<Record<Name, string>>> = {
  downtimeLimit: '0 to (2000 * 1000) ms',
  maxCpuThrottle: 'cpu_throttle_initial to 99',
};

function outOfRange(name: Name): QmpError {
  const range = ranges[name] ?? parameterRange[name].join(' to ');
  const shown = toQmpName(name).replaceAll('-', '_');
  return new QmpError(`Parameter '${shown}' expects an integer in the range of ${range}`);
}

/** `before` with what is given under QMP's names. Throws a QmpError for what is out of range. */
export function changeParameters(before: Parameters, given: Readonly<Record<string, unknown>>): Parameters {
  const after = { ...before };
  for (const name of names) after[name] = (given[toQmpName(name)] as number | undefined) ?? before[name];
  for (const name of names) {
    const [least, most] = parameterRange[name];
    if (after[name] < least || after[name] > most) throw outOfRange(name);
  }
  if (after.maxCpuThrottle < after.cpuThrottleInitial) throw outOfRange('maxCpuThrottle');
  return after;
}
