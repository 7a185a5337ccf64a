// The content of a stress guest's page, as a pure function of (seed, page index, sequence number),
// and the judgement of what a page holds. See docs/stress-guest.md.
//
//   word 0        page index
//   word 1        sequence number: 1 after the fill, one more at every write
//   word 2        key, mixed from seed, page index and sequence number
//   word 3        sum of words 4 to 511, plus the key: checkable without the seed
//   words 4-511   body, derived from the key
//
// Sequence number 0 stands for a page never written: all zero. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "zero_page.h"

namespace postcopy {

inline constexpr size_t kStressPageBytes = 4096;
inline constexpr size_t kStressHeaderWords = 4;

// Two words at once: what every x86-64 and arm64 can.
using StressLanes = uint64_t __attribute__((vector_size(16), may_alias));
inline constexpr size_t kStressHeaderLanes = kStressHeaderWords / 2;
inline constexpr size_t kStressPageLanes = kStressPageBytes / sizeof(StressLanes);

// Spreads every bit of the input over the output; a bijection.
inline uint64_t StressMix(uint64_t x) {
  x = (x ^ (x >> 31)) * 0xd6e8feb86659fd93u;
  x = (x ^ (x >> 29)) * 0xa0761d6478bd642fu;
  return x ^ (x >> 32);
}

inline uint64_t StressKey(uint32_t seed, uint64_t page, uint64_t sequence) {
  return StressMix(StressMix(StressMix(seed + 0x5851f42d4c957f2du) + page) + sequence);
}

// Calls `visit(lane index, lanes)` for the whole body; returns the sum of its words.
template <class Visit>
inline uint64_t ForEachStressLane(uint64_t key, Visit visit) {
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15u;
  StressLanes counter = {key, key + kStep};
  StressLanes sum = {0, 0};
  for (size_t lane = kStressHeaderLanes; lane < kStressPageLanes; lane++) {
    counter += 2 * kStep;
    StressLanes x = counter;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    sum += x;
    visit(lane, x);
  }
  return sum[0] + sum[1];
}

inline void WriteStressPage(void* page, uint32_t seed, uint64_t index, uint64_t sequence) {
  auto* lanes = static_cast<StressLanes*>(page);
  const uint64_t key = StressKey(seed, index, sequence);
  lanes[0] = StressLanes{index, sequence};
  const uint64_t sum =
      ForEachStressLane(key, [&](size_t lane, StressLanes value) { lanes[lane] = value; });
  lanes[1] = StressLanes{key, sum + key};
}

inline bool IsStressPage(const void* page, uint32_t seed, uint64_t index, uint64_t sequence) {
  const auto* lanes = static_cast<const StressLanes*>(page);
  const uint64_t key = StressKey(seed, index, sequence);
  StressLanes differing = lanes[0] ^ StressLanes { index, sequence };
  const uint64_t sum = ForEachStressLane(
      key, [&](size_t lane, StressLanes value) { differing |= lanes[lane] ^ value; });
  differing |= lanes[1] ^ StressLanes { key, sum + key };
  return (differing[0] | differing[1]) == 0;
}

enum class StressPageState { kGood, kLost, kStale, kTorn };

struct StressPageFinding {
  StressPageState state;
  uint64_t lost_writes;
};

// What a page holds where sequence number `expected` is due. Every byte is compared.
inline StressPageFinding ExamineStressPage(const void* page, uint32_t seed, uint64_t index,
                                           uint64_t expected) {
  if (expected > 0 && IsStressPage(page, seed, index, expected)) return {StressPageState::kGood, 0};
  if (PageHolds(page, kStressPageBytes, 0)) {
    return {expected == 0 ? StressPageState::kGood : StressPageState::kLost, expected};
  }
  const uint64_t found = static_cast<const uint64_t*>(page)[1];
  if (found > 0 && found < expected && IsStressPage(page, seed, index, found)) {
    return {StressPageState::kStale, expected - found};
  }
  // Parts of several writes, or a write that the guest has not done. Which writes are missing can't
  // be told; the last one is, if there was any.
  return {StressPageState::kTorn, expected > 0 ? uint64_t{1} : uint64_t{0}};
}

}  // namespace postcopy
