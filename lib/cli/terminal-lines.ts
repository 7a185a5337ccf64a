/** Lines on a terminal that are drawn over again. What draws them is loaded only where there is a terminal. */
import type { createLogUpdate } from 'log-update';

export type TerminalLines = ReturnType<typeof createLogUpdate>;

/** Undefined where `stream` is no terminal that can be drawn on. */
export async function terminalLines(stream: NodeJS.WriteStream): Promise<TerminalLines | undefined> {
  // A terminal of no known width can't be.
  if (!(stream.isTTY && stream.columns > 0)) return undefined;
  const { createLogUpdate } = await import('log-update');
  return createLogUpdate(stream);
}
