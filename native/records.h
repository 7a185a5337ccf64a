// The records that cross the boundary: what lib/native.ts calls EVENT_*, OUTCOME_*, MEMORY_*,
// KICKED and NO_PAGE. constants.cc exports them by name; this file owns their values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace postcopy {

// An event of a userfaultfd as float64 words. Each word has one meaning whatever the kind; those
// that a kind does not use are 0.
enum EventWord : size_t {
  kEventKind,
  kEventAddress,
  kEventFlags,
  kEventThread,
  kEventLength,
  kEventTo,
  kEventHandle,
  kEventWords,
};
static_assert(kEventWords == 7, "lib/native.ts documents seven words");

// What became of a page that was to be placed. 0 is kept for `not tried`: a call that throws leaves
// it in the outcomes it did not come to.
enum PlaceOutcome : uint8_t {
  kNotTried = 0,
  kPlaced = 1,
  kPresent = 2,
  kRetry = 3,
  kGone = 4,
};

enum MemoryKind : uint32_t {
  kMemoryAnonymous = 1,
  kMemoryMemfd = 2,
  kMemoryHugetlb = 3,
};

// What a blocking call returns once its kick is signalled; no count or handle is negative.
inline constexpr int kKicked = -1;

// A record without a page in socketSendPages.
inline constexpr uint32_t kNoPage = UINT32_MAX;

}  // namespace postcopy
