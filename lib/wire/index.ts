/**
 * The wire codec as others may use it: encoders, incremental decoders, the protocol's tables, the errors.
 */
export * from './capabilities.js';
export * from './decode.js';
export * from './decode-all.js';
export * from './encode.js';
export * from './errors.js';
export * from './messages.js';
export * from './multifd.js';
export * from './protocol.js';
export * from './return-path.js';
export * from './xbzrle.js';
