// RAM blocks: mapping, views, madvise, and copies that go around userfaultfd.
#include "ram_block.h"

#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "arguments.h"
#include "async.h"
#include "backing_store.h"
#include "userfaultfd.h"
#include "zero_page.h"

namespace postcopy {

namespace {

constexpr int kAdvices[] = {MADV_DONTNEED,       MADV_REMOVE,   MADV_NOHUGEPAGE, MADV_HUGEPAGE,
                            MADV_POPULATE_WRITE, MADV_DONTFORK, MADV_DOFORK};

// What one entry of a higher page table maps, and a transparent huge page is.
constexpr uint64_t kHugePageSize = uint64_t{2} << 20;

// Address space for the block that begins where a huge page can: one that is moved in as a whole
// must lie on the same boundaries in the block as in memory. Null where it is small, or as
// MAP_FAILED where there is no room.
void* ReserveAligned(uint64_t size) {
  if (size < kHugePageSize) return nullptr;
  const uint64_t reserved = size + kHugePageSize;
  void* start =
      mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return start;
  const uint64_t first = reinterpret_cast<uint64_t>(start);
  const uint64_t base = (first + kHugePageSize - 1) & ~(kHugePageSize - 1);
  if (base > first) munmap(start, base - first);
  if (first + reserved > base + size) {
    munmap(reinterpret_cast<void*>(base + size), first + reserved - (base + size));
  }
  return reinterpret_cast<void*>(base);
}

// Maps the block; on failure leaves `base` null.
Outcome Map(RamBlock& block) {
  int flags = 0;
  switch (block.kind) {
    case kMemoryAnonymous:
      flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
      break;
    case kMemoryMemfd:
      block.memfd = UniqueFd(memfd_create("postcopy-ram", MFD_CLOEXEC));
      if (!block.memfd) return Failure{errno, "memfd_create", {}};
      if (ftruncate(block.memfd.get(), static_cast<off_t>(block.size)) < 0) {
        return Failure{errno, "ftruncate", {{"size", static_cast<double>(block.size)}}};
      }
      flags = MAP_SHARED | MAP_NORESERVE;
      break;
    case kMemoryHugetlb:
      // Reserved, unlike the others: too few hugepages are an error now, not a SIGBUS later.
      flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
              (__builtin_ctzll(block.page_size) << MAP_HUGE_SHIFT);
      break;
  }
  void* reserved = block.kind == kMemoryHugetlb ? nullptr : ReserveAligned(block.size);
  void* base = reserved;
  if (reserved != MAP_FAILED) {
    if (reserved != nullptr) flags |= MAP_FIXED;
    base = mmap(reserved, block.size, PROT_READ | PROT_WRITE, flags,
                block.memfd ? block.memfd.get() : -1, 0);
  }
  if (base == MAP_FAILED) {
    if (reserved != nullptr && reserved != MAP_FAILED) munmap(reserved, block.size);
    return Failure{errno,
                   "mmap",
                   {{"size", static_cast<double>(block.size)},
                    {"pageSize", static_cast<double>(block.page_size)}}};
  }
  block.base = static_cast<uint8_t*>(base);
  return {};
}

Outcome AdviseEach(const std::vector<iovec>& ranges, int advice, const char* syscall) {
  for (const iovec& range : ranges) {
    if (madvise(range.iov_base, range.iov_len, advice) == 0) continue;
    return Failure{errno, syscall, {{"length", static_cast<double>(range.iov_len)}}};
  }
  return {};
}

// MADV_DONTNEED of many ranges in few system calls, by process_madvise on this very process
// (allowed since Linux 6.13). Measured (Linux 6.18): 20,000 single pages in 10 ms, against 38 ms
// with a call each.
Outcome DiscardAnonymous(std::vector<iovec>& ranges) {
  static constexpr const char* kSyscall = "madvise(MADV_DONTNEED)";
  if (ranges.size() == 1) return AdviseEach(ranges, MADV_DONTNEED, kSyscall);
  const UniqueFd self(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!self) return AdviseEach(ranges, MADV_DONTNEED, kSyscall);
  size_t first = 0;
  while (first < ranges.size()) {
    const size_t count = std::min<size_t>(ranges.size() - first, IOV_MAX);
    long advised =
        syscall(SYS_process_madvise, self.get(), &ranges[first], count, MADV_DONTNEED, 0);
    if (advised < 0 && errno == EINTR) continue;
    if (advised < 0 && (errno == EPERM || errno == EINVAL || errno == ENOSYS)) {
      ranges.erase(ranges.begin(), ranges.begin() + static_cast<ptrdiff_t>(first));
      return AdviseEach(ranges, MADV_DONTNEED, kSyscall);
    }
    if (advised < 0) return Failure{errno, "process_madvise(MADV_DONTNEED)", {}};
    // It may stop early, even within a range: go on from there.
    while (first < ranges.size() && static_cast<size_t>(advised) >= ranges[first].iov_len) {
      advised -= static_cast<long>(ranges[first++].iov_len);
    }
    if (advised > 0) {
      ranges[first].iov_base = static_cast<uint8_t*>(ranges[first].iov_base) + advised;
      ranges[first].iov_len -= static_cast<size_t>(advised);
    }
  }
  return {};
}

Outcome Discard(const RamBlock& block, std::vector<iovec>& ranges) {
  return block.kind == kMemoryMemfd ? AdviseEach(ranges, MADV_REMOVE, "madvise(MADV_REMOVE)")
                                    : DiscardAnonymous(ranges);
}

// The mapping of an adopted block belongs to a runtime that relies on it.
void RequireOwn(Arguments& arguments, const RamBlock* block) {
  arguments.Require(block == nullptr || block->keeper == nullptr, "block", "not be adopted");
}

// What a view keeps: the mapping, until the ArrayBuffer is collected or detached.
void ReleaseView(napi_env, void*, void* hint) {
  delete static_cast<std::shared_ptr<RamBlock>*>(hint);
}

// Has pages ready for a writer who comes next. Only a wish, so nothing that goes wrong is told.
class Populate : public AsyncCall {
 public:
  Populate(std::shared_ptr<RamBlock> block, uint64_t offset, uint64_t length)
      : block_(std::move(block)), offset_(offset), length_(length) {}

  Outcome Run() override {
    madvise(block_->base + offset_, length_, MADV_POPULATE_WRITE);
    return {};
  }

  napi_value Settle(napi_env env) override { return Napi::Env(env).Undefined(); }

 private:
  std::shared_ptr<RamBlock> block_;
  uint64_t offset_;
  uint64_t length_;
};

}  // namespace

void RamBlock::AddHole(uint64_t offset, uint64_t length) {
  const std::lock_guard lock(mutex);
  holes.emplace_back(offset, offset + length);
}

RamBlock::~RamBlock() {
  if (base == nullptr) return;
  std::vector<std::pair<uint64_t, uint64_t>> mapped = moved;
  std::ranges::sort(holes);
  uint64_t offset = 0;
  for (const auto& [hole, end] : holes) {
    if (hole > offset) mapped.emplace_back(AddressOf(offset), AddressOf(hole));
    offset = std::max(offset, end);
  }
  if (offset < size) mapped.emplace_back(AddressOf(offset), AddressOf(size));
  for (const auto& [from, to] : mapped) {
    // Unmapping memory that a userfaultfd with EVENT_UNMAP watches waits until the event is read,
    // and there may be no reader any more.
    for (const auto& watcher : watchers) {
      if (const auto uffd = watcher.lock()) UnregisterFrom(*uffd, from, to - from);
    }
    if (keeper == nullptr) munmap(reinterpret_cast<void*>(from), to - from);
  }
}

Napi::Value RamBlockCreate(const Napi::CallbackInfo& info) {
  const auto host_page_size = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  Arguments arguments(info);
  auto block = std::make_shared<RamBlock>();
  block->kind =
      static_cast<MemoryKind>(arguments.Integer("kind", kMemoryAnonymous, kMemoryHugetlb));
  block->size = arguments.Integer("size", 1, uint64_t{1} << 46);
  block->page_size = arguments.Integer("pageSize", 1, uint64_t{1} << 40);
  if (arguments.failed()) return {};
  const bool power_of_two = (block->page_size & (block->page_size - 1)) == 0;
  arguments.Require(block->kind == kMemoryHugetlb
                        ? power_of_two && block->page_size > host_page_size
                        : block->page_size == host_page_size,
                    "pageSize", "be the host's page size, or a hugepage size for MEMORY_HUGETLB");
  if (arguments.failed()) return {};
  arguments.Require(block->size % block->page_size == 0, "size", "be a multiple of pageSize");
  if (arguments.failed()) return {};
  if (const Outcome failure = Map(*block)) return Throw(info.Env(), *failure);
  return Napi::Number::New(info.Env(), static_cast<double>(InsertHandle(std::move(block))));
}

Napi::Value RamBlockAdopt(const Napi::CallbackInfo& info) {
  const auto host_page_size = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  Arguments arguments(info);
  const Napi::Object memory = arguments.Dictionary("memory");
  Napi::ArrayBuffer buffer = arguments.BufferProperty(memory, "buffer");
  if (arguments.failed()) return {};
  auto block = std::make_shared<RamBlock>();
  block->base = static_cast<uint8_t*>(buffer.Data());
  block->size = buffer.ByteLength();
  block->page_size = host_page_size;
  arguments.Require(block->size > 0 && block->AddressOf(block->size) % host_page_size == 0 &&
                        block->size % host_page_size == 0,
                    "buffer", "be whole pages of memory");
  if (arguments.failed()) return {};
  block->keeper = ShareBackingStore(buffer);
  if (block->keeper == nullptr) return Throw(info.Env(), {ENOTSUP, "GetBackingStore", {}});
  // While the runtime may still run code on the memory, the block stays, closed or not: a thread in
  // a fault must not be let go of.
  auto* kept = new std::shared_ptr<RamBlock>(block);
  memory.AddFinalizer([](Napi::Env, std::shared_ptr<RamBlock>* each) { delete each; }, kept);
  return Napi::Number::New(info.Env(), static_cast<double>(InsertHandle(std::move(block))));
}

Napi::Value RamBlockClose(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  arguments.Handle<RamBlock>("block");
  if (arguments.failed()) return {};
  const uint64_t handle = arguments.last_handle();
  RemoveHandle(handle);
  auto& views = info.Env().GetInstanceData<Environment>()->views;
  const auto view = views.find(handle);
  if (view != views.end()) {
    Napi::ArrayBuffer buffer = view->second.Value();
    if (!buffer.IsEmpty() && !buffer.IsDetached()) buffer.Detach();
    views.erase(view);
  }
  return info.Env().Undefined();
}

Napi::Value RamBlockInfo(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  if (arguments.failed()) return {};
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("kind", static_cast<double>(block->kind));
  result.Set("address", static_cast<double>(block->AddressOf(0)));
  result.Set("size", static_cast<double>(block->size));
  result.Set("pageSize", static_cast<double>(block->page_size));
  result.Set("fd", static_cast<double>(block->memfd.get()));
  return result;
}

Napi::Value RamBlockBuffer(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  if (arguments.failed()) return {};
  auto& views = info.Env().GetInstanceData<Environment>()->views;
  const auto known = views.find(arguments.last_handle());
  if (known != views.end() && !known->second.IsEmpty()) {
    const Napi::ArrayBuffer buffer = known->second.Value();
    if (!buffer.IsEmpty()) return buffer;
  }
  // References whose view is gone, of blocks that other threads closed, have no other end.
  std::erase_if(views, [](const auto& entry) { return entry.second.Value().IsEmpty(); });
  napi_value buffer = nullptr;
  auto* kept = new std::shared_ptr<RamBlock>(block);
  const napi_status status = napi_create_external_arraybuffer(info.Env(), block->base, block->size,
                                                              ReleaseView, kept, &buffer);
  if (status == napi_pending_exception || status == napi_cannot_run_js) {
    delete kept;  // the environment is ending: it did not come to take it over
    return {};
  }
  if (status != napi_ok) {
    // Node 20 refuses more than 4 GiB, with its own exception.
    if (!info.Env().IsExceptionPending()) {
      Napi::Error::New(info.Env(), "this runtime can't view memory it did not allocate")
          .ThrowAsJavaScriptException();
    }
    return {};
  }
  const Napi::ArrayBuffer view(info.Env(), buffer);
  views[arguments.last_handle()] = Napi::Weak(view);
  return view;
}

Napi::Value RamBlockAdvise(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const auto advice = static_cast<int>(arguments.Integer("advice", 0, 1000));
  arguments.Require(std::ranges::count(kAdvices, advice) == 1, "advice", "be one of MADV_*");
  const auto [offset, length] = TakePageRange(arguments, block.get());
  if (arguments.failed()) return {};
  while (madvise(block->base + offset, length, advice) < 0) {
    if (errno == EINTR) continue;
    return Throw(info.Env(), {errno,
                              "madvise",
                              {{"advice", static_cast<double>(advice)},
                               {"offset", static_cast<double>(offset)},
                               {"length", static_cast<double>(length)}}});
  }
  return info.Env().Undefined();
}

Napi::Value RamBlockPopulate(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const auto [offset, length] = TakePageRange(arguments, block.get());
  if (arguments.failed()) return {};
  return StartAsync(info.Env(), "populate", std::make_unique<Populate>(block, offset, length));
}

Napi::Value RamBlockDiscard(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const auto numbers = arguments.Array<double>("ranges");
  const uint64_t count = arguments.Integer("count");
  arguments.Require(count <= numbers.size() / 2, "count", "not exceed the pairs in ranges");
  if (arguments.failed()) return {};
  std::vector<iovec> ranges;
  ranges.reserve(count);
  const auto size = static_cast<double>(block->size);
  for (uint64_t i = 0; i < count; i++) {
    const double offset = numbers[2 * i];
    const double length = numbers[2 * i + 1];
    // Compared as numbers before they become integers: NaN and the negative fail here.
    const bool inside = offset >= 0 && length > 0 && offset < size && length <= size - offset;
    const bool aligned = inside && static_cast<double>(static_cast<uint64_t>(offset)) == offset &&
                         static_cast<double>(static_cast<uint64_t>(length)) == length &&
                         static_cast<uint64_t>(offset) % block->page_size == 0 &&
                         static_cast<uint64_t>(length) % block->page_size == 0;
    arguments.Require(aligned, "ranges", "be page-aligned and lie inside the block");
    if (arguments.failed()) return {};
    ranges.push_back({block->base + static_cast<uint64_t>(offset), static_cast<size_t>(length)});
  }
  if (const Outcome failure = Discard(*block, ranges)) return Throw(info.Env(), *failure);
  return info.Env().Undefined();
}

Napi::Value RamBlockTryDiscard(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const auto [offset, length] = TakePageRange(arguments, block.get());
  if (arguments.failed()) return {};
  // Held meanwhile: once an inhibitor has been added, no discard is under way.
  const std::lock_guard lock(block->mutex);
  if (block->discard_inhibitors > 0) return Napi::Boolean::New(info.Env(), false);
  std::vector<iovec> range{{block->base + offset, length}};
  if (const Outcome failure = Discard(*block, range)) return Throw(info.Env(), *failure);
  return Napi::Boolean::New(info.Env(), true);
}

Napi::Value RamBlockInhibitDiscard(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const bool inhibit = arguments.Integer("inhibit", 0, 1) == 1;
  if (arguments.failed()) return {};
  const std::lock_guard lock(block->mutex);
  arguments.Require(inhibit || block->discard_inhibitors > 0, "inhibit", "have been 1 before");
  if (arguments.failed()) return {};
  block->discard_inhibitors += inhibit ? 1 : -1;
  return info.Env().Undefined();
}

Napi::Value RamBlockUnmap(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const auto [offset, length] = TakePageRange(arguments, block.get());
  RequireOwn(arguments, block.get());
  if (arguments.failed()) return {};
  block->AddHole(offset, length);
  if (munmap(block->base + offset, length) == 0) return info.Env().Undefined();
  return Throw(info.Env(), {errno, "munmap", {{"length", static_cast<double>(length)}}});
}

Napi::Value RamBlockMoveAway(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const auto [offset, length] = TakePageRange(arguments, block.get());
  RequireOwn(arguments, block.get());
  if (arguments.failed()) return {};
  void* target = mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (target == MAP_FAILED) return Throw(info.Env(), {errno, "mmap", {}});
  const auto from = reinterpret_cast<uint64_t>(target);
  block->AddHole(offset, length);
  {
    const std::lock_guard lock(block->mutex);
    block->moved.emplace_back(from, from + length);
  }
  if (mremap(block->base + offset, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, target) !=
      target) {
    return Throw(info.Env(), {errno, "mremap", {{"length", static_cast<double>(length)}}});
  }
  return info.Env().Undefined();
}

// By number: the runtime of the address sanitizer replaces mlock and munlock by nothing.
Napi::Value RamBlockLock(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  if (arguments.failed()) return {};
  if (syscall(SYS_mlock, block->base, block->size) < 0) {
    return Throw(info.Env(), {errno, "mlock", {{"length", static_cast<double>(block->size)}}});
  }
  return info.Env().Undefined();
}

Napi::Value RamBlockUnlock(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  if (arguments.failed()) return {};
  if (syscall(SYS_munlock, block->base, block->size) < 0) {
    return Throw(info.Env(), {errno, "munlock", {{"length", static_cast<double>(block->size)}}});
  }
  return info.Env().Undefined();
}

Napi::Value RamBlockRead(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const uint64_t offset = arguments.Integer("offset");
  const auto target = arguments.Array<uint8_t>("target");
  if (arguments.failed()) return {};
  arguments.Require(offset <= block->size, "offset", "lie inside the block");
  if (arguments.failed()) return {};
  arguments.Require(target.size() <= block->size - offset, "target", "end inside the block");
  if (arguments.failed()) return {};
  if (!target.empty()) memcpy(target.data(), block->base + offset, target.size());
  return info.Env().Undefined();
}

Napi::Value RamBlockWrite(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const uint64_t offset = arguments.Integer("offset");
  const auto source = arguments.Array<uint8_t>("source");
  if (arguments.failed()) return {};
  arguments.Require(offset <= block->size, "offset", "lie inside the block");
  if (arguments.failed()) return {};
  arguments.Require(source.size() <= block->size - offset, "source", "end inside the block");
  if (arguments.failed()) return {};
  if (!source.empty()) memcpy(block->base + offset, source.data(), source.size());
  return info.Env().Undefined();
}

Napi::Value LoadPages(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const uint64_t page_size = TakePageSize(arguments);
  if (arguments.failed()) return {};
  const std::vector<uint32_t> pages = TakePages(arguments, block.get(), page_size);
  const auto arena = arguments.Array<uint8_t>("arena");
  const std::vector<uint32_t> offsets =
      TakeArenaOffsets(arguments, pages.size(), arena.size(), page_size);
  if (arguments.failed()) return {};
  for (size_t i = 0; i < pages.size(); i++) {
    memcpy(block->base + pages[i] * page_size, arena.data() + offsets[i], page_size);
  }
  return info.Env().Undefined();
}

Napi::Value FillPages(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto block = arguments.Handle<RamBlock>("block");
  const uint64_t page_size = TakePageSize(arguments);
  if (arguments.failed()) return {};
  const std::vector<uint32_t> pages = TakePages(arguments, block.get(), page_size);
  const auto fills = arguments.Array<uint8_t>("fills");
  arguments.Require(fills.size() >= pages.size(), "fills", "hold a byte for every page");
  if (arguments.failed()) return {};
  for (size_t i = 0; i < pages.size(); i++) {
    uint8_t* page = block->base + pages[i] * page_size;
    const uint8_t fill = fills[i];
    // The comparison populates the page: reading a page of zeroes that was never there maps it.
    if (!PageHolds(page, page_size, fill)) memset(page, fill, page_size);
  }
  return info.Env().Undefined();
}

}  // namespace postcopy
