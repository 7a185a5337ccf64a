// The order in which a vCPU writes its pages: every one once a round, in a pseudo-random
// permutation that is computed, not stored, so that a position stands for all that was written
// before it. See docs/stress-guest.md. Pure; any thread.
#pragma once

#include <cstdint>

#include "stress_page.h"

namespace postcopy {

// One round's permutation of [0, count), count > 0: a four-round Feistel network over the next
// even power of two, walked until it falls inside.
class StressOrder {
 public:
  StressOrder(uint32_t seed, uint32_t vcpu, uint64_t round, uint64_t count)
      : count_(count), key_(StressMix(StressKey(seed, vcpu, round))) {
    while ((uint64_t{1} << (2 * half_bits_)) < count) half_bits_++;
  }

  uint64_t At(uint64_t position) const {
    uint64_t value = position;
    do {
      value = Permute(value);
    } while (value >= count_);
    return value;
  }

 private:
  uint64_t Permute(uint64_t value) const {
    const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
    uint64_t left = value >> half_bits_;
    uint64_t right = value & mask;
    for (uint64_t step = 0; step < 4; step++) {
      const uint64_t mixed = StressMix(right + key_ + step);
      const uint64_t next = left ^ (mixed & mask);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  uint64_t count_;
  uint64_t key_;
  unsigned half_bits_ = 1;
};

}  // namespace postcopy
