/** Huge pages for the guests of the chaos, where this process may reserve them. */
import { HUGEPAGE, withHugepages } from '../hugepages.ts';
import { MEMORY_MAX } from './plan.ts';

/** Runs `use` with whether there are any. */
export async function withHugepagesIfAny<T>(use: (hugepages: boolean) => Promise<T>): Promise<T> {
  let isUsed = false;
  try {
    return await withHugepages((2 * MEMORY_MAX) / HUGEPAGE, () => {
      isUsed = true;
      return use(true);
    });
  } catch (error) {
    if (isUsed) throw error;
    console.error(`without huge pages: ${(error as Error).message}`);
    return use(false);
  }
}
