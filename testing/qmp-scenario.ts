/**
 * A postcopy with a pause and a recovery, driven at both ends over QMP and nothing else: who they are is all the same
 * to it. The destination waits with `-incoming defer`.
 */
import type { QmpClient } from './qemu/qmp.ts';

type Answer = Readonly<Record<string, unknown>>;

/** Slow enough that neither the precopy nor the postcopy is over before it is wanted; bytes a second. */
const SLOW = 50_000;

export interface ScenarioOutcome {
  /** query-migrate and query-status of both when they have completed. */
  readonly migrations: readonly [source: Answer, destination: Answer];
  readonly statuses: readonly [source: unknown, destination: unknown];
}

/** `uri` is where the destination listens at first, `otherUri` where it is recovered. Rejects where a step fails. */
export async function postcopyOverQmp(
  source: QmpClient,
  destination: QmpClient,
  uri: string,
  otherUri: string,
): Promise<ScenarioOutcome> {
  const both = async (wanted: string): Promise<void> => {
    const holds = ({ status }: Answer) => status === wanted;
    await Promise.all([source, destination].map((end) => end.event('MIGRATION', holds)));
  };
  const capabilities = ['events', 'postcopy-ram'].map((capability) => ({ capability, state: true }));
  for (const end of [destination, source]) await end.execute('migrate-set-capabilities', { capabilities });
  const slow = { 'max-bandwidth': SLOW, 'max-postcopy-bandwidth': SLOW, 'downtime-limit': 1 };
  await source.execute('migrate-set-parameters', slow);
  await destination.execute('migrate-incoming', { uri });
  await source.execute('migrate', { uri });
  await both('active');
  await source.event('MIGRATION_PASS', ({ pass }) => pass === 1);
  await source.execute('migrate-start-postcopy');
  await both('postcopy-active');
  await source.event('STOP');
  await destination.event('RESUME');
  await source.execute('migrate-pause');
  await both('postcopy-paused');
  await destination.execute('migrate-recover', { uri: otherUri });
  await source.execute('migrate', { uri: otherUri, resume: true });
  await both('postcopy-recover');
  await source.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 0 });
  await both('completed');
  const ask = async (command: string) =>
    [await source.execute<Answer>(command), await destination.execute<Answer>(command)] as const;
  const migrations = await ask('query-migrate');
  const [here, there] = await ask('query-status');
  for (const end of [source, destination]) {
    await end.execute('quit');
    await end.event('SHUTDOWN', ({ reason }) => reason === 'host-qmp-quit');
  }
  return { migrations, statuses: [here.status, there.status] };
}
