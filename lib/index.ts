/** The public API, and nothing else. */

export type { GuestOrFactory, IncomingMigration } from './destination/incoming.js';
export type { FaultInfo, GuestLoss, IncomingInfo, IncomingRamInfo } from './destination/incoming-info.js';
export type { IncomingStatus } from './destination/incoming-state.js';
export { type QmpSocketAddress, type QueryIncoming, queryIncoming } from './destination/query-migrate.js';
export type { HostFacts } from './doctor/facts.js';
export type { GuestToCome } from './doctor/memory-problems.js';
export type { Problem } from './doctor/problem.js';
export { type ErrorCode, errorCodes, MigrationError } from './errors.js';
export {
  KVM_IDSTR,
  KvmGuest,
  type KvmGuestEvents,
  type KvmGuestOutput,
  type KvmGuestSettings,
  type KvmMachineSettings,
} from './guest/kvm/kvm-guest.js';
export type { TouchLatency } from './guest/kvm/touch-latency.js';
export { STRESS_IDSTR, StressGuest, type StressGuestSettings } from './guest/stress-guest.js';
export { defineWasmProgram, type WasmProgram, type WasmVcpu } from './guest/wasm/program.js';
export { WasmGuest, type WasmGuestSettings } from './guest/wasm/wasm-guest.js';
export type { WasmImports, WasmInstance } from './guest/wasm/webassembly.js';
export type { GuestShape } from './guest/worker/device-state.js';
export { defineProgram, type Program, type Vcpu } from './guest/worker/program.js';
export { type UnansweredMessage, WorkerGuest, type WorkerGuestSettings } from './guest/worker/worker-guest.js';
export { type HostProbe, probeHost } from './host/probe.js';
export {
  MachineSaver,
  type MachineSaverOptions,
  type ReceivedMachineInfo,
} from './machine/machine-saver.js';
export type { Manifest } from './machine/manifest.js';
export { type Reconciled, type ReconciledBlock, type ReconcileOptions, reconcileHalves } from './machine/reconcile.js';
export { type OpenMachineOptions, SavedMachine } from './machine/saved-machine.js';
export type { Guest, Machine, MachineLike, MachineReceiver } from './memory/guest.js';
export { type MemoryKind, RAMBlock, type RAMBlockOptions } from './memory/ram-block.js';
export type { WriteLogDescriptor } from './memory/write-log.js';
export { type ListenOptions, listen } from './migration/listen.js';
export { type MigrateOptions, migrate } from './migration/migrate.js';
export { type PreparedMigration, prepareMigration } from './migration/prepare-migration.js';
export type { NativeError, StressGuestStats, StressGuestVerdict } from './native.js';
export {
  type Capabilities,
  defaultCapabilities,
  defaultParameters,
  type Parameters,
  type PrefetchPolicy,
  prefetchPolicies,
} from './options.js';
export type { ConnectionState, ConnectionStats } from './relay/connection.js';
export type { CutHow, Direction, Fault } from './relay/faults.js';
export type { RelayObserver } from './relay/observer.js';
export { createRelay, type Relay, type RelayEvents, type RelayOptions, type RelayStats } from './relay/relay.js';
export type { MigrationStatus } from './source/migration-state.js';
export type { GuestRunState, OutgoingMigration } from './source/outgoing.js';
export type { OutgoingInfo, RamInfo } from './source/outgoing-info.js';
export { type QueryMigrate, queryMigrate } from './source/query-migrate.js';
export type { DirtyTracking } from './source/source-context.js';
export { type TraceFileSummary, writeTraceFile } from './trace/trace-file.js';
export { type TracePoint, type TracePointName, tracePoints } from './trace/trace-points.js';
export { recordTrace, type TraceRecording } from './trace/trace-recording.js';
export type { TraceMessage } from './trace/trace-session.js';
