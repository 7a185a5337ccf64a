// A RAM block: one mapping of guest memory.
//
// Any thread. The mapping never changes while the object lives, and lives as long as any call, view
// (ArrayBuffer) or vCPU uses it. Its bytes may change at any moment: guests write them.
#pragma once

#include <napi.h>

#include <cstdint>
#include <unordered_map>

#include "records.h"
#include "unique_fd.h"

namespace postcopy {

struct RamBlock {
  uint8_t* base = nullptr;
  uint64_t size = 0;
  uint64_t page_size = 0;  // of the mapping: the host's, or the hugepages'
  MemoryKind kind = kMemoryAnonymous;
  UniqueFd memfd;

  RamBlock() = default;
  RamBlock(const RamBlock&) = delete;
  RamBlock& operator=(const RamBlock&) = delete;
  ~RamBlock();

  uint64_t AddressOf(uint64_t offset) const { return reinterpret_cast<uint64_t>(base) + offset; }
};

// What the addon keeps for one environment (one JavaScript thread).
struct Environment {
  // The views made here, by block handle; weak, so that a forgotten view can go.
  std::unordered_map<uint64_t, Napi::Reference<Napi::ArrayBuffer>> views;
};

Napi::Value RamBlockCreate(const Napi::CallbackInfo& info);
Napi::Value RamBlockClose(const Napi::CallbackInfo& info);
Napi::Value RamBlockInfo(const Napi::CallbackInfo& info);
Napi::Value RamBlockBuffer(const Napi::CallbackInfo& info);
Napi::Value RamBlockAdvise(const Napi::CallbackInfo& info);
Napi::Value RamBlockDiscard(const Napi::CallbackInfo& info);
Napi::Value RamBlockRead(const Napi::CallbackInfo& info);
Napi::Value RamBlockWrite(const Napi::CallbackInfo& info);
Napi::Value LoadPages(const Napi::CallbackInfo& info);
Napi::Value FillPages(const Napi::CallbackInfo& info);

}  // namespace postcopy
