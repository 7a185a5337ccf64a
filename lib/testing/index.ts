/** `postcopy/testing`: checks a guest of your own against the contract of docs/guests.md. */

export { type ContractCheck, ContractError, type ContractOptions, guestContract } from './guest-contract.js';
export type { GuestKit } from './guest-kit.js';
export { type Move, type ThereAndBackOptions, thereAndBack } from './there-and-back.js';
