/**
 * Every trace point of the engine: its name, the numbered step it lies at (docs/architecture.md), what it
 * tells. Names are those of QEMU's trace events where it has one. Pure data.
 *
 * They are also where a test has a thread fail or wait (testing/breakpoint.ts): each step has one, and a
 * test goes through all of them.
 */

/** What a value is. `block`, `status` and `postcopyState` are indexes that are told as names. */
export type TraceValueKind =
  | 'bytes'
  | 'count'
  | 'ms'
  | 'us'
  | 'percent'
  | 'value'
  | 'address'
  | 'block'
  | 'status'
  | 'postcopyState';

/** Kinds whose values are told as names, given by whoever opens the session. */
export type TraceNames = Readonly<Partial<Record<'block' | 'status' | 'postcopyState', readonly string[]>>>;

export interface TracePoint {
  /** S… is the source's, D… the destination's. */
  readonly step: string;
  /** Name → kind, in the order in which the values are given; at most `TRACE_VALUES_MAX`. */
  readonly values: Readonly<Record<string, TraceValueKind>>;
  /** Opens or closes the span of that name on its thread. */
  readonly span?: readonly [phase: 'begin' | 'end', name: string];
}

export const TRACE_VALUES_MAX = 4;

export const tracePoints = {
  // --- source, owner -----------------------------------------------------------------------------
  open_return_path_on_source: { step: 'S2', values: {} },
  open_return_path_on_source_continue: { step: 'S2', values: {} },
  migrate_fd_connect: { step: 'S3', values: {} },
  migrate_fd_cancel: { step: 'S12', values: {} },
  migrate_fd_cleanup: { step: 'S12', values: {} },

  // --- source, migration thread ------------------------------------------------------------------
  migrate_set_state: { step: 'S7', values: { status: 'status' } },
  memory_global_dirty_log_start: { step: 'S6', values: {} },
  savevm_state_header: { step: 'S4', values: {}, span: ['begin', 'setup'] },
  savevm_send_open_return_path: { step: 'S5', values: {} },
  savevm_send_ping: { step: 'S5', values: { value: 'value' } },
  savevm_send_postcopy_advise: { step: 'S5', values: {} },
  savevm_state_setup: { step: 'S6', values: {} },
  migration_thread_setup_complete: { step: 'S7', values: {}, span: ['end', 'setup'] },
  migration_bitmap_sync_start: { step: 'S8', values: {}, span: ['begin', 'bitmap sync'] },
  migration_bitmap_sync_end: { step: 'S8', values: { dirtyPages: 'count' }, span: ['end', 'bitmap sync'] },
  migrate_pending: {
    step: 'S8',
    values: { size: 'bytes', threshold: 'bytes', canPostcopy: 'bytes', mustPrecopy: 'bytes' },
  },
  migration_throttle: { step: 'S8', values: { percent: 'percent' } },
  savevm_section_start: { step: 'S8', values: { sectionId: 'value' }, span: ['begin', 'section'] },
  savevm_section_end: { step: 'S8', values: { sectionId: 'value' }, span: ['end', 'section'] },
  migration_rate_limit: { step: 'S8', values: { rest: 'ms' } },
  get_queued_page: { step: 'S8', values: { block: 'block', offset: 'bytes', length: 'bytes' } },
  get_queued_page_not_dirty: { step: 'S8', values: { block: 'block', offset: 'bytes', length: 'bytes' } },
  postcopy_start: { step: 'S9.1', values: {}, span: ['begin', 'postcopy start'] },
  postcopy_start_set_run: { step: 'S9.3', values: {} },
  migration_guest_stopped: { step: 'S9.3', values: { ran: 'value' }, span: ['begin', 'downtime'] },
  ram_postcopy_send_discard_bitmap: { step: 'S9.4', values: {} },
  savevm_send_postcopy_ram_discard: { step: 'S9.4', values: { block: 'block', pages: 'count' } },
  savevm_state_complete_precopy: { step: 'S9.7', values: {} },
  savevm_send_packaged: { step: 'S9.8', values: { length: 'bytes' } },
  migration_downtime_end: { step: 'S9.9', values: { downtime: 'us' }, span: ['end', 'downtime'] },
  postcopy_start_end: { step: 'S9.10', values: {}, span: ['end', 'postcopy start'] },
  migration_thread_low_pending: { step: 'S10', values: { pending: 'bytes' } },
  migration_completion_precopy: { step: 'S10', values: {} },
  migration_completion_postcopy_end: { step: 'S10', values: {} },
  migration_completion_postcopy_end_after_complete: { step: 'S10', values: {} },
  await_return_path_close_on_source_joining: { step: 'S10', values: {}, span: ['begin', 'await return path'] },
  await_return_path_close_on_source_close: { step: 'S10', values: {}, span: ['end', 'await return path'] },
  postcopy_pause: { step: 'S13', values: {}, span: ['begin', 'paused'] },
  savevm_send_recv_bitmap: { step: 'S13', values: {} },
  savevm_send_postcopy_resume: { step: 'S13', values: {} },
  postcopy_pause_continued: { step: 'S13', values: {}, span: ['end', 'paused'] },
  migration_thread_file_err: { step: 'S8', values: {} },
  migration_thread_after_loop: { step: 'S11', values: {} },

  // --- source, return path thread ----------------------------------------------------------------
  source_return_path_thread_entry: { step: 'S2', values: {} },
  source_return_path_thread_pong: { step: 'S8', values: { value: 'value' } },
  migrate_handle_rp_req_pages: { step: 'S8', values: { block: 'block', offset: 'bytes', length: 'bytes' } },
  source_return_path_thread_recv_bitmap: { step: 'S13', values: { block: 'block', received: 'count' } },
  source_return_path_thread_resume_ack: { step: 'S13', values: { value: 'value' } },
  source_return_path_thread_shut: { step: 'S10', values: { value: 'value' } },
  source_return_path_thread_bad_end: { step: 'S10', values: {} },
  source_return_path_thread_end: { step: 'S10', values: {} },

  // --- destination, main thread ------------------------------------------------------------------
  migration_incoming_connected: { step: 'D1', values: {} },
  loadvm_state_header: { step: 'D1', values: {} },
  loadvm_state_configuration: { step: 'D1', values: {} },
  loadvm_process_command: { step: 'D2', values: { command: 'value' } },
  loadvm_process_command_ping: { step: 'D3', values: { value: 'value' } },
  loadvm_postcopy_handle_advise: { step: 'D4', values: {} },
  loadvm_ram_blocks: { step: 'D4', values: { blocks: 'count' } },
  postcopy_init_range: { step: 'D4', values: { block: 'block' } },
  loadvm_postcopy_ram_handle_discard: { step: 'D6', values: { block: 'block', ranges: 'count' } },
  loadvm_handle_cmd_packaged: { step: 'D7', values: { length: 'bytes' }, span: ['begin', 'package'] },
  loadvm_postcopy_handle_listen: { step: 'D7', values: {} },
  postcopy_ram_enable_notify: { step: 'D7', values: {} },
  loadvm_device_state: { step: 'D8', values: { length: 'bytes' } },
  loadvm_postcopy_handle_run: { step: 'D8', values: {} },
  loadvm_postcopy_handle_run_vmstart: { step: 'D8', values: {}, span: ['end', 'package'] },
  loadvm_state_main_end: { step: 'D10', values: {} },

  // --- destination, fault thread -----------------------------------------------------------------
  postcopy_ram_fault_thread_entry: { step: 'D7', values: {} },
  postcopy_ram_fault_thread_request: { step: 'D9', values: { block: 'block', offset: 'bytes', thread: 'value' } },
  postcopy_request_shared_page_present: { step: 'D9', values: { block: 'block', offset: 'bytes' } },
  postcopy_ram_removed: { step: 'D9', values: { block: 'block', offset: 'bytes', length: 'bytes' } },
  postcopy_ram_fault_thread_quit: { step: 'D10', values: {} },

  // --- destination, listen thread ----------------------------------------------------------------
  postcopy_ram_listen_thread_start: { step: 'D7', values: {} },
  postcopy_place_page: { step: 'D9', values: { block: 'block', offset: 'bytes', length: 'bytes' } },
  postcopy_place_page_zero: { step: 'D9', values: { block: 'block', offset: 'bytes', length: 'bytes' } },
  /** A page that was waited for is there; its latency by stages. */
  postcopy_page_served: {
    step: 'D9',
    values: { block: 'block', offset: 'bytes', faultToArrival: 'us', arrivalToPlaced: 'us' },
  },
  postcopy_ram_incoming_cleanup_entry: { step: 'D10', values: {}, span: ['begin', 'cleanup'] },
  postcopy_cleanup_range: { step: 'D10', values: { block: 'block' } },
  postcopy_ram_incoming_cleanup_join: { step: 'D10', values: {} },
  postcopy_ram_incoming_cleanup_exit: { step: 'D10', values: {}, span: ['end', 'cleanup'] },
  postcopy_ram_listen_thread_exit: { step: 'D10', values: {} },
} as const satisfies Record<string, TracePoint>;

export type TracePointName = keyof typeof tracePoints;

export const tracePointNames = Object.keys(tracePoints) as TracePointName[];

/** The points that tell no values. */
export type BarePointName = {
  [Name in TracePointName]: keyof (typeof tracePoints)[Name]['values'] extends never ? Name : never;
}[TracePointName];

export type ValuedPointName = Exclude<TracePointName, BarePointName>;
