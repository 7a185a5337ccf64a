/** Colours of what is written: on a terminal only, unless the environment says otherwise. */
import pc from 'picocolors';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Whether what is written to `stream` is coloured. NO_COLOR (https://no-color.org) goes before FORCE_COLOR, and that
 * before what the stream is.
 */
export function hasColours(
  stream: { readonly isTTY?: boolean | undefined },
  environment: Environment = process.env,
): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = environment;
  if (NO_COLOR) return false;
  if (FORCE_COLOR !== undefined && FORCE_COLOR !== '') return FORCE_COLOR !== '0' && FORCE_COLOR !== 'false';
  return stream.isTTY === true && TERM !== 'dumb';
}

/** For results. */
export const stdoutColours = pc.createColors(hasColours(process.stdout));
/** For all else. */
export const stderrColours = pc.createColors(hasColours(process.stderr));
