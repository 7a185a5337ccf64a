// The search for zero pages.
#include "zero_page.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "arguments.h"
#include "ram_block.h"

namespace postcopy {

namespace {

// Sixteen bytes are what every x86-64 and arm64 compares at once.
using Lanes = uint64_t __attribute__((vector_size(16), may_alias));

}  // namespace

bool PageHolds(const void* page, size_t size, uint8_t byte) {
  const auto* at = static_cast<const Lanes*>(page);
  const auto* end = at + size / sizeof(Lanes);
  const uint64_t word = byte * 0x0101010101010101u;
  const Lanes wanted = {word, word};
  // Most pages that differ do so in their first line: one branch per 128 bytes finds that soon
  // enough, and costs little on pages that don't.
  for (; at != end; at += 8) {
    const Lanes differing = (at[0] ^ wanted) | (at[1] ^ wanted) | (at[2] ^ wanted) |
                            (at[3] ^ wanted) | (at[4] ^ wanted) | (at[5] ^ wanted) |
                            (at[6] ^ wanted) | (at[7] ^ wanted);
    if ((differing[0] | differing[1]) != 0) return false;
  }
  return true;
}

Napi::Value FindZeroPages(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const uint64_t page_size = TakePageSize(arguments);
  if (arguments.failed()) return {};
  const std::vector<uint32_t> pages = TakePages(arguments, block.get(), page_size);
  const auto zero = arguments.Array<uint8_t>("zero");
  arguments.Require(zero.size() >= pages.size(), "zero", "hold a byte for every page");
  if (arguments.failed()) return {};
  uint32_t found = 0;
  for (size_t i = 0; i < pages.size(); i++) {
    zero[i] = PageHolds(block->base + pages[i] * page_size, page_size, 0);
    found += zero[i];
  }
  return Napi::Number::New(info.Env(), found);
}

}  // namespace postcopy
