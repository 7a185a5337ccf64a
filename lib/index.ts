/** The public API, and nothing else. */

export type { LatencySummary } from './destination/fault-latency.js';
export type { GuestOrFactory, IncomingEvents, IncomingMigration } from './destination/incoming.js';
export type { FaultInfo, GuestLoss, IncomingInfo, IncomingRamInfo } from './destination/incoming-info.js';
export type { IncomingStatus } from './destination/incoming-state.js';
export { type QmpSocketAddress, type QueryIncoming, queryIncoming } from './destination/query-migrate.js';
export type { ArrivingPages } from './destination/watched-pages.js';
export type { Runtime } from './doctor/container.js';
export type { DeviceFacts, DriverFacts, HostFacts } from './doctor/facts.js';
export type { GuestToCome } from './doctor/memory-problems.js';
export type { Problem } from './doctor/problem.js';
export type { Capability, ProcessStatus } from './doctor/proc-files.js';
export { type ErrorCode, errorCodes, MigrationError, type MigrationErrorOptions, type PlainError } from './errors.js';
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
export { type HostProbe, type MemoryProbe, probeHost } from './host/probe.js';
export {
  MachineSaver,
  type MachineSaverOptions,
  type ReceivedMachineInfo,
} from './machine/machine-saver.js';
export type { Manifest } from './machine/manifest.js';
export { type Reconciled, type ReconciledBlock, type ReconcileOptions, reconcileHalves } from './machine/reconcile.js';
export { type OpenMachineOptions, SavedMachine } from './machine/saved-machine.js';
export type { PageBitmap } from './memory/bitmap.js';
export type { Guest, Machine, MachineLike, MachineReceiver } from './memory/guest.js';
export {
  type AdoptableMemory,
  type MemoryKind,
  RAMBlock,
  type RAMBlockDescriptor,
  type RAMBlockOptions,
} from './memory/ram-block.js';
export type { WriteLogDescriptor } from './memory/write-log.js';
export { type ForecastOptions, forecastMigration, measureDirtyCurve } from './migration/forecast-migration.js';
export { type ListenOptions, listen } from './migration/listen.js';
export { type MigrateOptions, migrate } from './migration/migrate.js';
export { type PreparedMigration, prepareMigration } from './migration/prepare-migration.js';
export type { NativeError, StressGuestStats, StressGuestVerdict, UserfaultfdVia } from './native.js';
export {
  type Capabilities,
  defaultCapabilities,
  defaultParameters,
  type Parameters,
  type PrefetchPolicy,
  prefetchPolicies,
} from './options.js';
export { createCommands } from './qmp/commands.js';
export { GuestHost, type GuestHostEvents, type GuestHostOptions, type RunState } from './qmp/guest-host.js';
export { QmpError, type QmpEvent, type QmpVersion } from './qmp/messages.js';
export { QmpServer, type QmpServerOptions } from './qmp/server.js';
export { command, type QmpCommand, type QmpCommands } from './qmp/session.js';
export type { Members, QmpType } from './qmp/types.js';
export type { ConnectionState, ConnectionStats } from './relay/connection.js';
export type { CutHow, Direction, Fault } from './relay/faults.js';
export type { RelayObserver } from './relay/observer.js';
export { createRelay, type Relay, type RelayEvents, type RelayOptions, type RelayStats } from './relay/relay.js';
export type { DirtyCurve } from './source/dirty-curve.js';
export { type Forecast, type ForecastInput, forecast, type Remedies } from './source/forecast.js';
export type { MigrationStatus } from './source/migration-state.js';
export type { GuestRunState, OutgoingEvents, OutgoingMigration, SentPages } from './source/outgoing.js';
export type { OutgoingInfo, RamInfo } from './source/outgoing-info.js';
export { type QueryMigrate, queryMigrate } from './source/query-migrate.js';
export type { DirtyTracking } from './source/source-context.js';
export { type TraceFileSummary, writeTraceFile } from './trace/trace-file.js';
export { type TracePoint, type TracePointName, type TraceValueKind, tracePoints } from './trace/trace-points.js';
export { recordTrace, type TraceRecording } from './trace/trace-recording.js';
export type { TraceMessage } from './trace/trace-session.js';
