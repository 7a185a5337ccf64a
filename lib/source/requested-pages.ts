/** Page requests as a connection brings them: which pages of this guest each one means, once that is checked. */
import { MigrationError } from '../errors.js';
import type { PageBitmap } from '../memory/bitmap.js';
import type { RAMList } from '../memory/ram-list.js';
import type { ReturnPathMessageRecord } from '../wire/messages.js';
import type { MigrationStateCell, MigrationStatus } from './migration-state.js';
import { checkPageRequest, type PageRequest } from './page-request-queue.js';

/** In which the destination may ask for pages. */
const requestStatuses: ReadonlySet<MigrationStatus> = new Set([
  'postcopy-device',
  'postcopy-active',
  'postcopy-recover',
]);

export class RequestedPages {
  readonly #ram: RAMList;
  readonly #state: MigrationStateCell;
  readonly #asked: readonly PageBitmap[];
  readonly #request: PageRequest = { blockIndex: -1, firstPage: 0, pageCount: 0 };

  /** `asked`, by block: marked for each page that is asked for. */
  constructor(ram: RAMList, state: MigrationStateCell, asked: readonly PageBitmap[]) {
    this.#ram = ram;
    this.#state = state;
    this.#asked = asked;
  }

  /**
   * The pages of a request, whole host pages; the same object each time. `isWelcome`: whether this connection may ask.
   * Throws ILLEGAL_COMMAND while none are sent, STREAM_CORRUPT for pages that there are not.
   */
  take(
    { start, length, idstr }: Extract<ReturnPathMessageRecord, { readonly type: 'REQ_PAGES' }>,
    isWelcome: boolean,
  ): PageRequest {
    if (!isWelcome || !requestStatuses.has(this.#state.status)) {
      throw new MigrationError('ILLEGAL_COMMAND', 'the destination asked for pages while none are sent', {
        record: 'REQ_PAGES',
        hint: 'record the stream and report it',
      });
    }
    const request = this.#request;
    if (idstr !== undefined) request.blockIndex = this.#ram.indexOf(idstr);
    if (request.blockIndex < 0) {
      throw new MigrationError(
        'STREAM_CORRUPT',
        `the destination asked for pages of an unknown RAM block ${idstr ?? '(none named)'}`,
        { record: 'REQ_PAGES' },
      );
    }
    Object.assign(request, checkPageRequest(this.#ram.blocks[request.blockIndex], start, length));
    this.#asked[request.blockIndex].setRange(request.firstPage, request.pageCount);
    return request;
  }
}
