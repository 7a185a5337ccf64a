// The parts of the kernel's interface that the headers of older distributions lack (Debian 12 has
// those of Linux 6.1): POISON, MOVE, WP_UNPOPULATED, WP_ASYNC, and PAGEMAP_SCAN.
//
// Named apart from the kernel's own names, so that this also compiles where the headers have them.
// The numbers are the kernel's ABI and are checked below.
#pragma once

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <cstdint>

namespace postcopy {

// --- userfaultfd -----------------------------------------------------------------------------

struct UffdioMove {
  uint64_t dst;
  uint64_t src;
  uint64_t len;
  uint64_t mode;
  int64_t move;  // written by the kernel: bytes moved or -errno
};

struct UffdioPoison {
  uffdio_range range;
  uint64_t mode;
  int64_t updated;  // written by the kernel: bytes poisoned or -errno
};

inline constexpr unsigned long kUffdioMove = _IOWR(0xAA, 0x05, UffdioMove);
inline constexpr unsigned long kUffdioPoison = _IOWR(0xAA, 0x08, UffdioPoison);

struct NamedBit {
  const char* name;
  uint64_t bit;
};

// Every feature of UFFDIO_API, from bit 0.
inline constexpr NamedBit kUffdFeatures[] = {
    {"UFFD_FEATURE_PAGEFAULT_FLAG_WP", uint64_t{1} << 0},
    {"UFFD_FEATURE_EVENT_FORK", uint64_t{1} << 1},
    {"UFFD_FEATURE_EVENT_REMAP", uint64_t{1} << 2},
    {"UFFD_FEATURE_EVENT_REMOVE", uint64_t{1} << 3},
    {"UFFD_FEATURE_MISSING_HUGETLBFS", uint64_t{1} << 4},
    {"UFFD_FEATURE_MISSING_SHMEM", uint64_t{1} << 5},
    {"UFFD_FEATURE_EVENT_UNMAP", uint64_t{1} << 6},
    {"UFFD_FEATURE_SIGBUS", uint64_t{1} << 7},
    {"UFFD_FEATURE_THREAD_ID", uint64_t{1} << 8},
    {"UFFD_FEATURE_MINOR_HUGETLBFS", uint64_t{1} << 9},
    {"UFFD_FEATURE_MINOR_SHMEM", uint64_t{1} << 10},
    {"UFFD_FEATURE_EXACT_ADDRESS", uint64_t{1} << 11},
    {"UFFD_FEATURE_WP_HUGETLBFS_SHMEM", uint64_t{1} << 12},
    {"UFFD_FEATURE_WP_UNPOPULATED", uint64_t{1} << 13},
    {"UFFD_FEATURE_POISON", uint64_t{1} << 14},
    {"UFFD_FEATURE_WP_ASYNC", uint64_t{1} << 15},
    {"UFFD_FEATURE_MOVE", uint64_t{1} << 16},
};
inline constexpr uint64_t kFeatureWpUnpopulated = uint64_t{1} << 13;
inline constexpr uint64_t kFeatureWpAsync = uint64_t{1} << 15;

static_assert(sizeof(uffd_msg) == 32);
static_assert(sizeof(uffdio_copy) == 40 && UFFDIO_COPY == 0xc028aa03);
static_assert(sizeof(UffdioMove) == 40 && kUffdioMove == 0xc028aa05);
static_assert(sizeof(UffdioPoison) == 32 && kUffdioPoison == 0xc020aa08);

// --- PAGEMAP_SCAN, an ioctl of /proc/<pid>/pagemap ---------------------------------------------

struct PageRegion {
  uint64_t start;  // addresses, end exclusive
  uint64_t end;
  uint64_t categories;
};

struct PagemapScanArgument {
  uint64_t size;  // of this structure
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;  // written by the kernel: how far it came
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};

inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScanArgument);
inline constexpr uint64_t kScanWpMatching = 1 << 0;
inline constexpr uint64_t kScanCheckWpAsync = 1 << 1;

inline constexpr uint64_t kPageIsWritten = 1 << 1;
inline constexpr uint64_t kPageIsPresent = 1 << 3;
inline constexpr NamedBit kPageCategories[] = {
    {"PAGE_IS_WRITTEN", kPageIsWritten},
    {"PAGE_IS_PRESENT", kPageIsPresent},
    {"PAGE_IS_SWAPPED", 1 << 4},
    {"PAGE_IS_PFNZERO", 1 << 5},
    {"PAGE_IS_HUGE", 1 << 6},
};

static_assert(sizeof(PageRegion) == 24);
static_assert(sizeof(PagemapScanArgument) == 96 && kPagemapScan == 0xc0606610);

}  // namespace postcopy
