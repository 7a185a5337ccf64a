// The dirty log; see dirty_log.h.
#include "dirty_log.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>

#include "arguments.h"
#include "ram_block.h"
#include "uffd_abi.h"

namespace postcopy {

namespace {

constexpr size_t kRegionsPerScan = 1024;

// The pagemap of this process, opened once and kept: opening costs more than a scan.
int Pagemap() {
  static const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) errno = ENOENT;
  return fd;
}

// Which pages a scan is for: those that have all categories of `mask`, with those of `inverted` the
// other way round.
struct Wanted {
  uint64_t mask;
  uint64_t inverted = 0;
  uint64_t flags = 0;
};

// Scans a range and calls `visit(first offset, end offset)` for each region of wanted pages.
// Regions come in ascending order and never overlap.
template <class Visit>
Outcome Scan(const RamBlock& block, const Range& range, const Wanted& wanted, Visit visit) {
  std::array<PageRegion, kRegionsPerScan> regions;
  const uint64_t base = block.AddressOf(0);
  PagemapScanArgument scan{};
  scan.size = sizeof(scan);
  scan.flags = wanted.flags;
  scan.end = base + range.offset + range.length;
  scan.vec = reinterpret_cast<uint64_t>(regions.data());
  scan.vec_len = regions.size();
  scan.category_mask = wanted.mask;
  scan.category_inverted = wanted.inverted;
  scan.return_mask = wanted.mask;
  // The kernel stops when the regions are full; it has write-protected what it reported and nothing
  // beyond. Its walk_end may lag behind the last region (seen in 6.18, after 512 regions): a walk
  // resumed there would report pages twice.
  uint64_t at = base + range.offset;
  while (at < scan.end) {
    scan.start = at;
    const int count = ioctl(Pagemap(), kPagemapScan, &scan);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return Failure{errno,
                     "ioctl(PAGEMAP_SCAN)",
                     {{"offset", static_cast<double>(range.offset)},
                      {"length", static_cast<double>(range.length)}}};
    }
    for (int i = 0; i < count; i++) visit(regions[i].start - base, regions[i].end - base);
    at = std::max(scan.walk_end, count > 0 ? regions[count - 1].end : 0);
  }
  return {};
}

// Or-s bits [first, end) into the bitmap. Atomic: other threads set and clear bits of the same
// words.
void SetBits(std::span<uint32_t> bitmap, uint64_t first, uint64_t end) {
  while (first < end) {
    const uint64_t bit = first & 31;
    const uint64_t count = std::min(end - first, 32 - bit);
    const uint32_t mask = static_cast<uint32_t>(((uint64_t{1} << count) - 1) << bit);
    std::atomic_ref(bitmap[first >> 5]).fetch_or(mask);
    first += count;
  }
}

// Sets the bits of wanted pages; returns to JavaScript how many they are.
Napi::Value CollectPages(const Napi::CallbackInfo& info, const Wanted& wanted) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const Range range = TakePageRange(arguments, block.get());
  const uint64_t page_size = TakePageSize(arguments);
  const auto bitmap = arguments.Array<uint32_t>("bitmap");
  if (arguments.failed()) return {};
  const uint64_t end_page = (range.offset + range.length + page_size - 1) / page_size;
  arguments.Require(end_page <= bitmap.size() * 32, "bitmap", "hold a bit for every page");
  if (arguments.failed()) return {};

  uint64_t found = 0;
  uint64_t counted_to = 0;  // two regions may lie in one page, where that is larger than the host's
  const Outcome failure = Scan(*block, range, wanted, [&](uint64_t from, uint64_t to) {
    const uint64_t first = std::max(from / page_size, counted_to);
    const uint64_t end = (to + page_size - 1) / page_size;
    if (first >= end) return;
    SetBits(bitmap, first, end);
    found += end - first;
    counted_to = end;
  });
  if (failure) return Throw(info.Env(), *failure);
  return Napi::Number::New(info.Env(), static_cast<double>(found));
}

}  // namespace

Napi::Value HarvestDirtyPages(const Napi::CallbackInfo& info) {
  return CollectPages(info, {.mask = kPageIsWritten, .flags = kScanWpMatching | kScanCheckWpAsync});
}

Napi::Value FindAbsentPages(const Napi::CallbackInfo& info) {
  return CollectPages(info, {.mask = kPageIsPresent, .inverted = kPageIsPresent});
}

Napi::Value CountPages(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const Range range = TakePageRange(arguments, block.get());
  const uint64_t mask = arguments.Bits("mask");
  arguments.Require(mask != 0, "mask", "name a category");
  if (arguments.failed()) return {};
  uint64_t bytes = 0;
  const Outcome failure =
      Scan(*block, range, {.mask = mask}, [&](uint64_t from, uint64_t to) { bytes += to - from; });
  if (failure) return Throw(info.Env(), *failure);
  const uint64_t pages = bytes / block->page_size;
  return Napi::Number::New(info.Env(), static_cast<double>(pages));
}

Napi::Value HasPagemapScan(const Napi::CallbackInfo& info) {
  // An empty scan: a kernel that has it answers 0, an older one ENOTTY.
  PagemapScanArgument scan{};
  scan.size = sizeof(scan);
  return Napi::Boolean::New(info.Env(), ioctl(Pagemap(), kPagemapScan, &scan) == 0);
}

}  // namespace postcopy
