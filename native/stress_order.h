// The order in which a vCPU writes its pages: each is drawn at random from all that it owns, with
// no regard to what was written before. A page dirty at the switch to postcopy is thus as likely to
// be written next as any other. See docs/stress-guest.md. Pure; a vCPU's state is its thread's own.
#pragma once

#include <cstdint>

#include "stress_page.h"

namespace postcopy {

// The pseudo-random generator of one vCPU: a counter, and a bijection that mixes it. Its period is
// 2^64 from every state, so any that comes in a device state may be loaded.
struct StressOrder {
  uint64_t state = 0;

  // The next of `count` pages as an index in [0, count), 0 < count <= UINT32_MAX.
  uint64_t Draw(uint64_t count) {
    state += 0x9e3779b97f4a7c15u;
    return (StressMix(state) >> 32) * count >> 32;
  }
};

// Where vCPU `vcpu` begins.
inline StressOrder FirstStressOrder(uint32_t seed, uint32_t vcpu) {
  return {StressKey(seed, vcpu, 0)};
}

}  // namespace postcopy
