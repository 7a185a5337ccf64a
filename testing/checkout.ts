/** Where this checkout is: files are found from it, whether a module runs as it is or compiled to another folder. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

function find(from: URL): URL {
  return existsSync(new URL('package.json', from)) ? from : find(new URL('..', from));
}

const root = find(new URL('.', import.meta.url));

/** The path of a file or folder, given from the root of the checkout. */
export const inCheckout = (path: string): string => fileURLToPath(new URL(path, root));
