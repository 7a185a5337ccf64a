// The RAM of a stress guest: the pages of its blocks numbered through in the blocks' order, and how
// many of each block are filled and rewritten. See docs/stress-guest.md.
//
// Immutable, any thread. Whoever has it keeps the blocks alive.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ram_block.h"
#include "stress_page.h"

namespace postcopy {

// Its first `filled_pages` pages are filled, the first `working_pages` of them rewritten.
struct StressBlock {
  uint8_t* base;
  uint64_t first_page;     // the guest's number of its first page
  uint64_t first_working;  // the working set's number of its first page
  uint64_t pages;
  uint64_t filled_pages;
  uint64_t working_pages;

  void* Page(uint64_t page) const { return base + page * kStressPageBytes; }
};

class StressBlocks {
 public:
  struct Place {
    uint64_t page;  // the guest's number
    void* memory;
  };

  // `working_pages` <= `filled_pages` <= the pages of all blocks, which fit in 32 bits.
  StressBlocks(const std::vector<std::shared_ptr<RamBlock>>& blocks, uint32_t filled_pages,
               uint32_t working_pages) {
    const uint64_t all_pages = PagesOf(blocks);
    uint64_t pages = 0;
    uint64_t filled = 0;
    uint64_t working = 0;
    for (const auto& block : blocks) {
      const uint64_t pages_here = block->size / kStressPageBytes;
      // Whole shares of what is up to the block's end, less what is up to its begin: they add up,
      // and exceed neither the block nor each other.
      const uint64_t filled_to = filled_pages * (pages + pages_here) / all_pages;
      const uint64_t working_to = filled_pages == 0 ? 0 : working_pages * filled_to / filled_pages;
      blocks_.push_back(
          {block->base, pages, working, pages_here, filled_to - filled, working_to - working});
      working_starts_.push_back(working);
      pages += pages_here;
      filled = filled_to;
      working = working_to;
    }
  }

  static uint64_t PagesOf(const std::vector<std::shared_ptr<RamBlock>>& blocks) {
    uint64_t pages = 0;
    for (const auto& block : blocks) pages += block->size / kStressPageBytes;
    return pages;
  }

  auto begin() const { return blocks_.begin(); }
  auto end() const { return blocks_.end(); }
  size_t size() const { return blocks_.size(); }

  // Where page `number` of the working set lies.
  Place Working(uint64_t number) const {
    const auto next = std::upper_bound(working_starts_.begin(), working_starts_.end(), number);
    const StressBlock& block = blocks_[static_cast<size_t>(next - working_starts_.begin()) - 1];
    const uint64_t page = number - block.first_working;
    return {block.first_page + page, block.Page(page)};
  }

 private:
  std::vector<StressBlock> blocks_;
  std::vector<uint64_t> working_starts_;  // first_working of each, for the search
};

}  // namespace postcopy
