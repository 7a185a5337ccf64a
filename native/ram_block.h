// A RAM block: one mapping of guest memory.
//
// Any thread. Most blocks map their memory themselves; an adopted one has a share in memory that a
// runtime maps and unmaps. The mapping never changes while the object lives, and lives as long as
// any call, view (ArrayBuffer) or vCPU uses it. Its bytes may change at any moment: guests write
// them.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "records.h"
#include "unique_fd.h"

namespace postcopy {

struct Userfaultfd;

struct RamBlock {
  uint8_t* base = nullptr;
  uint64_t size = 0;
  uint64_t page_size = 0;  // of the mapping: the host's, or the hugepages'
  MemoryKind kind = kMemoryAnonymous;
  UniqueFd memfd;
  // Of an adopted block: what keeps the mapping, which is not for us to unmap.
  std::shared_ptr<void> keeper;

  // Guards what follows.
  std::mutex mutex;
  // While above 0, RamBlockTryDiscard does nothing.
  uint32_t discard_inhibitors = 0;
  // Who may be told when the mapping goes, and would have to be waited for.
  std::vector<std::weak_ptr<Userfaultfd>> watchers;
  // Parts that were unmapped or moved away, as offsets from and to; others may live there now.
  std::vector<std::pair<uint64_t, uint64_t>> holes;
  // Where those moved away are now, as addresses from and to.
  std::vector<std::pair<uint64_t, uint64_t>> moved;

  // A part of the mapping goes another way than with the object.
  void AddHole(uint64_t offset, uint64_t length);

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
Napi::Value RamBlockAdopt(const Napi::CallbackInfo& info);
Napi::Value RamBlockClose(const Napi::CallbackInfo& info);
Napi::Value RamBlockInfo(const Napi::CallbackInfo& info);
Napi::Value RamBlockBuffer(const Napi::CallbackInfo& info);
Napi::Value RamBlockAdvise(const Napi::CallbackInfo& info);
Napi::Value RamBlockPopulate(const Napi::CallbackInfo& info);
Napi::Value RamBlockDiscard(const Napi::CallbackInfo& info);
Napi::Value RamBlockTryDiscard(const Napi::CallbackInfo& info);
Napi::Value RamBlockInhibitDiscard(const Napi::CallbackInfo& info);
Napi::Value RamBlockMoveAway(const Napi::CallbackInfo& info);
Napi::Value RamBlockUnmap(const Napi::CallbackInfo& info);
Napi::Value RamBlockLock(const Napi::CallbackInfo& info);
Napi::Value RamBlockUnlock(const Napi::CallbackInfo& info);
Napi::Value RamBlockRead(const Napi::CallbackInfo& info);
Napi::Value RamBlockWrite(const Napi::CallbackInfo& info);
Napi::Value LoadPages(const Napi::CallbackInfo& info);
Napi::Value FillPages(const Napi::CallbackInfo& info);

}  // namespace postcopy
