/** What the main thread goes through before a source comes is read to its end, whichever machine it waits for. */
import { expect, test, vi } from 'vitest';
import { warmUp } from '#lib/destination/warm-up.js';
import { StreamDecoder } from '#lib/wire/decode.js';

test.each([
  ['a guest of ours', 'own'],
  ['any machine', { like: undefined }],
] as const)('%s', (_what, expected) => {
  const decoded = vi.spyOn(StreamDecoder.prototype, 'next');
  try {
    warmUp(expected);
    const records = decoded.mock.results.map(({ value }) => (value as { type?: string } | undefined)?.type);
    expect(records).not.toContain(undefined);
    const commands = decoded.mock.results.map(({ value }) => (value as { command?: string }).command);
    expect(commands.filter((command) => command !== undefined)).toEqual([
      ...['OPEN_RETURN_PATH', 'PING', 'POSTCOPY_ADVISE', 'POSTCOPY_RAM_DISCARD', 'PING', 'PACKAGED'],
      ...['POSTCOPY_LISTEN', 'PING', 'PING', 'POSTCOPY_RUN'],
    ]);
  } finally {
    decoded.mockRestore();
  }
});
