// The kernel's constants and the boundary's records, by name. The lists `constantNames` and
// `bitNames` of lib/native.ts are held against these by a test.
#include "constants.h"

#include <sys/mman.h>
#include <unistd.h>

#include "records.h"
#include "uffd_abi.h"

namespace postcopy {

namespace {

struct NamedNumber {
  const char* name;
  double value;
};

// Of the kernel, named as in its headers.
#define KERNEL(name) {#name, static_cast<double>(name)}

constexpr NamedNumber kNumbers[] = {
    {"MEMORY_ANONYMOUS", kMemoryAnonymous},
    {"MEMORY_MEMFD", kMemoryMemfd},
    {"MEMORY_HUGETLB", kMemoryHugetlb},
    KERNEL(MADV_DONTNEED),
    KERNEL(MADV_REMOVE),
    KERNEL(MADV_NOHUGEPAGE),
    KERNEL(MADV_HUGEPAGE),
    KERNEL(MADV_POPULATE_WRITE),
    KERNEL(MADV_DONTFORK),
    KERNEL(MADV_DOFORK),
    KERNEL(UFFDIO_REGISTER_MODE_MISSING),
    KERNEL(UFFDIO_REGISTER_MODE_WP),
    KERNEL(UFFDIO_REGISTER_MODE_MINOR),
    KERNEL(UFFDIO_COPY_MODE_DONTWAKE),
    KERNEL(UFFDIO_COPY_MODE_WP),
    KERNEL(UFFDIO_WRITEPROTECT_MODE_WP),
    KERNEL(UFFDIO_WRITEPROTECT_MODE_DONTWAKE),
    KERNEL(UFFD_EVENT_PAGEFAULT),
    KERNEL(UFFD_EVENT_FORK),
    KERNEL(UFFD_EVENT_REMAP),
    KERNEL(UFFD_EVENT_REMOVE),
    KERNEL(UFFD_EVENT_UNMAP),
    KERNEL(UFFD_PAGEFAULT_FLAG_WRITE),
    KERNEL(UFFD_PAGEFAULT_FLAG_WP),
    KERNEL(UFFD_PAGEFAULT_FLAG_MINOR),
    {"EVENT_WORDS", kEventWords},
    {"EVENT_KIND", kEventKind},
    {"EVENT_ADDRESS", kEventAddress},
    {"EVENT_FLAGS", kEventFlags},
    {"EVENT_THREAD", kEventThread},
    {"EVENT_LENGTH", kEventLength},
    {"EVENT_TO", kEventTo},
    {"EVENT_HANDLE", kEventHandle},
    {"OUTCOME_PLACED", kPlaced},
    {"OUTCOME_PRESENT", kPresent},
    {"OUTCOME_RETRY", kRetry},
    {"OUTCOME_GONE", kGone},
    {"KICKED", kKicked},
    {"NO_PAGE", kNoPage},
};

#undef KERNEL

}  // namespace

Napi::Object MakeConstants(Napi::Env env) {
  Napi::Object constants = Napi::Object::New(env);
  constants.Set("HOST_PAGE_SIZE", static_cast<double>(sysconf(_SC_PAGESIZE)));
  for (const auto& [name, value] : kNumbers) constants.Set(name, value);
  for (const auto& [name, bit] : kUffdFeatures) constants.Set(name, Napi::BigInt::New(env, bit));
  for (const auto& [name, bit] : kPageCategories) constants.Set(name, Napi::BigInt::New(env, bit));
  constants.Freeze();
  return constants;
}

}  // namespace postcopy
