/**
 * The part of WebAssembly's JavaScript interface that is used here. Neither Node's types nor TypeScript's ES
 * libraries have it, and naming it apart leaves a user's own choice of types alone.
 */

export interface WasmMemory {
  /** Another one after each growth; the one before is detached then. */
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
  /** By so many pages of 64 KiB; returns how many there were. Throws a RangeError above the maximum. */
  grow(pages: number): number;
}

export interface WasmGlobal {
  value: unknown;
}

export interface WasmTable {
  readonly length: number;
  get(index: number): unknown;
  set(index: number, value: unknown): void;
  grow(elements: number): number;
}

/** As `WebAssembly.instantiate` takes them: by module, then by name. */
export type WasmImports = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

export interface WasmInstance {
  readonly exports: Readonly<Record<string, unknown>>;
}

export interface WasmModule {
  readonly [Symbol.toStringTag]: 'WebAssembly.Module';
}

interface WebAssemblyInterface {
  readonly Memory: new (limits: { initial: number; maximum?: number; shared?: boolean }) => WasmMemory;
  readonly Global: new (type: { value: string; mutable?: boolean }, value?: unknown) => WasmGlobal;
  readonly Table: new (type: { element: string; initial: number; maximum?: number }) => WasmTable;
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (module: WasmModule, imports?: WasmImports) => WasmInstance;
  readonly LinkError: new (message?: string) => Error;
  readonly RuntimeError: new (message?: string) => Error;
  compile(bytes: Uint8Array): Promise<WasmModule>;
  instantiate(module: WasmModule, imports?: WasmImports): Promise<WasmInstance>;
}

export const webAssembly = (globalThis as unknown as { readonly WebAssembly: WebAssemblyInterface }).WebAssembly;

/** Bytes of a page of a memory; it grows by whole ones. */
export const WASM_PAGE_SIZE = 64 * 1024;
