// userfaultfd: open, register, resolve, read events.
#include "userfaultfd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arguments.h"
#include "eventfd.h"
#include "ram_block.h"
#include "records.h"
#include "uffd_abi.h"

namespace postcopy {

namespace {

// --- opening ---------------------------------------------------------------------------------

int OpenBySyscall() { return static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)); }

int OpenUserModeOnly() {
  return static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
}

int OpenByDevice() {
  const UniqueFd device(open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  return device ? ioctl(device.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK) : -1;
}

struct Way {
  const char* name;
  const char* syscall;
  int (*open)();
};

constexpr Way kWays[] = {
    {"syscall", "userfaultfd", OpenBySyscall},
    {"device", "open(/dev/userfaultfd)", OpenByDevice},
    {"user-mode-only", "userfaultfd(UFFD_USER_MODE_ONLY)", OpenUserModeOnly},
};

std::string FeatureNames(uint64_t features) {
  std::string names;
  for (uint64_t rest = features; rest != 0; rest &= rest - 1) {
    const uint64_t bit = rest & -rest;
    const auto* known = std::ranges::find(kUffdFeatures, bit, &NamedBit::bit);
    if (!names.empty()) names += ", ";
    names += known != std::end(kUffdFeatures) ? known->name
                                              : "bit " + std::to_string(__builtin_ctzll(bit));
  }
  return names;
}

// --- placing ---------------------------------------------------------------------------------

// An ioctl that reports progress in bytes: what it did, or -errno when it did nothing.
int64_t Progress(int result, int64_t reported) {
  if (reported > 0) return reported;
  return result < 0 ? -errno : 0;
}

Outcome WakeRange(const Userfaultfd& uffd, uint64_t address, uint64_t length) {
  uffdio_range range{address, length};
  if (ioctl(uffd.fd.get(), UFFDIO_WAKE, &range) == 0) return {};
  return Failure{errno, "ioctl(UFFDIO_WAKE)", {{"length", static_cast<double>(length)}}};
}

// Fills `count` neighbouring pages from `address` by `fill(done, length)`, which places
// `length` bytes `done` bytes into the run and returns its Progress. Sets `outcomes`.
template <class Fill>
Outcome PlaceRun(const Userfaultfd& uffd, const char* syscall, uint64_t address, uint64_t page_size,
                 size_t count, uint8_t* outcomes, Fill fill) {
  size_t done = 0;
  size_t limit = count;
  while (done < count) {
    const size_t asked = std::min(limit, count - done);
    const int64_t progress = fill(done * page_size, asked * page_size);
    if (progress > 0) {
      const size_t placed = static_cast<uint64_t>(progress) / page_size;
      std::fill_n(outcomes + done, placed, kPlaced);
      done += placed;
      limit *= 2;
      continue;
    }
    switch (-progress) {
      case EEXIST:
        // The content came by another way, but its waiters may have been missed: wake them.
        if (Outcome failure = WakeRange(uffd, address + done * page_size, page_size))
          return failure;
        outcomes[done++] = kPresent;
        break;
      case EAGAIN:
        std::fill_n(outcomes + done, count - done, kRetry);
        return {};
      case ENOENT:
      case ESRCH:
        // The kernel also says so of a run that reaches beyond one mapping: halve it until it fits.
        if (asked > 1) {
          limit = asked / 2;
          break;
        }
        outcomes[done++] = kGone;
        break;
      default:
        return Failure{static_cast<int>(-progress),
                       syscall,
                       {{"address", static_cast<double>(address + done * page_size)},
                        {"length", static_cast<double>(asked * page_size)}}};
    }
  }
  return {};
}

int64_t Copy(const Userfaultfd& uffd, uint64_t target, const void* source, uint64_t length,
             uint64_t mode) {
  uffdio_copy copy{target, reinterpret_cast<uint64_t>(source), length, mode, 0};
  const int result = ioctl(uffd.fd.get(), UFFDIO_COPY, &copy);
  return Progress(result, copy.copy);
}

// Pages from the wire have headers between them, so neighbours in the block are not neighbours in
// the arena. Copying such a run together first makes one ioctl of it: measured (Linux 6.18, 64
// pages), 1.21 us a page against 1.92 us with an ioctl each, and 1.10 us where nothing had to be
// copied together.
constexpr size_t kGatherBytes = 256 * 1024;

uint8_t* GatherBuffer() {
  thread_local const std::unique_ptr<uint8_t[]> buffer(new uint8_t[kGatherBytes]);
  return buffer.get();
}

// How many entries from `first` have consecutive numbers.
size_t RunLength(const std::vector<uint32_t>& numbers, size_t first, uint64_t step) {
  size_t end = first + 1;
  while (end < numbers.size() && numbers[end] == numbers[end - 1] + step) end++;
  return end - first;
}

size_t CountPlaced(std::span<const uint8_t> outcomes, size_t count) {
  return static_cast<size_t>(
      std::count(outcomes.begin(), outcomes.begin() + static_cast<ptrdiff_t>(count), kPlaced));
}

// The arguments that both placing calls begin with. The kernel places whole pages of the mapping.
uint64_t TakePlacedPageSize(Arguments& arguments, const RamBlock* block) {
  const uint64_t page_size = TakePageSize(arguments);
  if (arguments.failed()) return 0;
  arguments.Require(page_size == block->page_size, "pageSize", "be the block's page size");
  return page_size;
}

// A page of zeroes as large as any mapping's. Read-only and never written: the kernel backs all of
// it by its one zero page.
class ZeroSource {
 public:
  explicit ZeroSource(uint64_t length)
      : length_(length),
        base_(
            mmap(nullptr, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ZeroSource(const ZeroSource&) = delete;
  ZeroSource& operator=(const ZeroSource&) = delete;
  ~ZeroSource() {
    if (base_ != MAP_FAILED) munmap(base_, length_);
  }
  const void* base() const { return base_ == MAP_FAILED ? nullptr : base_; }

 private:
  uint64_t length_;
  void* base_;
};

// --- events ----------------------------------------------------------------------------------

constexpr size_t kMessagesPerRead = 64;

void DecodeEvent(const uffd_msg& message, double* words) {
  std::fill_n(words, kEventWords, 0.0);
  words[kEventKind] = message.event;
  switch (message.event) {
    case UFFD_EVENT_PAGEFAULT:
      words[kEventAddress] = static_cast<double>(message.arg.pagefault.address);
      words[kEventFlags] = static_cast<double>(message.arg.pagefault.flags);
      words[kEventThread] = message.arg.pagefault.feat.ptid;
      break;
    case UFFD_EVENT_FORK: {
      auto child = std::make_shared<Userfaultfd>();
      child->fd = UniqueFd(static_cast<int>(message.arg.fork.ufd));
      words[kEventHandle] = static_cast<double>(InsertHandle(std::move(child)));
      break;
    }
    case UFFD_EVENT_REMAP:
      words[kEventAddress] = static_cast<double>(message.arg.remap.from);
      words[kEventTo] = static_cast<double>(message.arg.remap.to);
      words[kEventLength] = static_cast<double>(message.arg.remap.len);
      break;
    default:  // REMOVE and UNMAP share a shape
      words[kEventAddress] = static_cast<double>(message.arg.remove.start);
      words[kEventLength] = static_cast<double>(message.arg.remove.end - message.arg.remove.start);
  }
}

Failure RangeFailure(const char* syscall, const Range& range) {
  return {errno,
          syscall,
          {{"offset", static_cast<double>(range.offset)},
           {"length", static_cast<double>(range.length)}}};
}

// Repeats an ioctl that may do a part, until the range is done: `step(done, length)` returns its
// Progress. Returns bytes done to JavaScript, which are all of them.
template <class Step>
Napi::Value WholeRange(Napi::Env env, const char* syscall, const Range& range, Step step) {
  uint64_t done = 0;
  while (done < range.length) {
    const int64_t progress = step(done, range.length - done);
    if (progress <= 0) {
      return Throw(env, {static_cast<int>(-progress),
                         syscall,
                         {{"offset", static_cast<double>(range.offset)},
                          {"length", static_cast<double>(range.length)},
                          {"done", static_cast<double>(done)}}});
    }
    done += static_cast<uint64_t>(progress);
  }
  return Napi::Number::New(env, static_cast<double>(done));
}

}  // namespace

void UnregisterFrom(const Userfaultfd& uffd, uint64_t address, uint64_t length) {
  uffdio_range range{address, length};
  ioctl(uffd.fd.get(), UFFDIO_UNREGISTER, &range);
}

Napi::Value UserfaultfdOpen(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::string via = arguments.String("via");
  const uint64_t wanted = arguments.Bits("features");
  const auto* way = std::ranges::find_if(kWays, [&](const Way& each) { return via == each.name; });
  arguments.Require(way != std::end(kWays), "via", "be syscall, device or user-mode-only");
  if (arguments.failed()) return {};

  // The handshake can be done once per descriptor and fails as a whole on a feature that the kernel
  // lacks. One descriptor asks what there is, the other is the one to use.
  uint64_t available = 0;
  {
    const UniqueFd probe(way->open());
    if (!probe) return Throw(info.Env(), {errno, way->syscall, {{"via", via}}});
    uffdio_api api{UFFD_API, 0, 0};
    if (ioctl(probe.get(), UFFDIO_API, &api) < 0) {
      return Throw(info.Env(), {errno, "ioctl(UFFDIO_API)", {{"features", uint64_t{0}}}});
    }
    available = api.features;
  }
  if ((wanted & ~available) != 0) {
    return Throw(info.Env(),
                 {EINVAL, "ioctl(UFFDIO_API)", {{"missing", FeatureNames(wanted & ~available)}}});
  }
  auto uffd = std::make_shared<Userfaultfd>();
  uffd->fd = UniqueFd(way->open());
  if (!uffd->fd) return Throw(info.Env(), {errno, way->syscall, {{"via", via}}});
  uffdio_api api{UFFD_API, wanted, 0};
  if (ioctl(uffd->fd.get(), UFFDIO_API, &api) < 0) {
    return Throw(info.Env(), {errno, "ioctl(UFFDIO_API)", {{"features", wanted}}});
  }
  // The kernel answers with all it has, not with what it switched on; WP_ASYNC brings another
  // along.
  const uint64_t implied = (wanted & kFeatureWpAsync) != 0 ? kFeatureWpUnpopulated : 0;
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("handle", static_cast<double>(InsertHandle(std::move(uffd))));
  result.Set("granted", Napi::BigInt::New(info.Env(), wanted | implied));
  result.Set("available", Napi::BigInt::New(info.Env(), available));
  return result;
}

Napi::Value UserfaultfdClose(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  arguments.Handle<Userfaultfd>("uffd");
  if (arguments.failed()) return {};
  RemoveHandle(arguments.last_handle());
  return info.Env().Undefined();
}

Napi::Value UserfaultfdRegister(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto block = arguments.Handle<RamBlock>("block");
  const Range range = TakePageRange(arguments, block.get());
  const uint64_t mode = arguments.Integer("mode", 1, UFFD_API_REGISTER_MODES);
  if (arguments.failed()) return {};
  uffdio_register request{{block->AddressOf(range.offset), range.length}, mode, 0};
  if (ioctl(uffd->fd.get(), UFFDIO_REGISTER, &request) < 0) {
    Failure failure = RangeFailure("ioctl(UFFDIO_REGISTER)", range);
    failure.arguments.emplace_back("mode", static_cast<double>(mode));
    return Throw(info.Env(), failure);
  }
  const std::lock_guard lock(block->mutex);
  std::erase_if(block->watchers,
                [&](const auto& known) { return known.expired() || known.lock() == uffd; });
  block->watchers.push_back(uffd);
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(request.ioctls));
}

Napi::Value UserfaultfdUnregister(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto block = arguments.Handle<RamBlock>("block");
  const Range range = TakePageRange(arguments, block.get());
  if (arguments.failed()) return {};
  uffdio_range request{block->AddressOf(range.offset), range.length};
  if (ioctl(uffd->fd.get(), UFFDIO_UNREGISTER, &request) < 0) {
    return Throw(info.Env(), RangeFailure("ioctl(UFFDIO_UNREGISTER)", range));
  }
  return info.Env().Undefined();
}

Napi::Value PlacePages(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto block = arguments.Handle<RamBlock>("block");
  const uint64_t page_size = TakePlacedPageSize(arguments, block.get());
  if (arguments.failed()) return {};
  const std::vector<uint32_t> pages = TakePages(arguments, block.get(), page_size);
  const auto arena = arguments.Array<uint8_t>("arena");
  const std::vector<uint32_t> offsets =
      TakeArenaOffsets(arguments, pages.size(), arena.size(), page_size);
  const uint64_t mode =
      arguments.Integer("mode", 0, UFFDIO_COPY_MODE_DONTWAKE | UFFDIO_COPY_MODE_WP);
  const auto outcomes = arguments.Array<uint8_t>("outcomes");
  arguments.Require(outcomes.size() >= pages.size(), "outcomes", "hold a byte for every page");
  if (arguments.failed()) return {};

  std::fill_n(outcomes.data(), pages.size(), kNotTried);
  const size_t gathered_pages = std::max<size_t>(kGatherBytes / page_size, 1);
  for (size_t first = 0; first < pages.size();) {
    const size_t neighbours = RunLength(pages, first, 1);
    size_t count = std::min(neighbours, RunLength(offsets, first, page_size));
    const uint8_t* source = arena.data() + offsets[first];
    if (count == 1 && neighbours > 1 && gathered_pages > 1) {
      count = std::min(neighbours, gathered_pages);
      uint8_t* buffer = GatherBuffer();
      for (size_t i = 0; i < count; i++) {
        memcpy(buffer + i * page_size, arena.data() + offsets[first + i], page_size);
      }
      source = buffer;
    }
    const uint64_t address = block->AddressOf(pages[first] * page_size);
    const Outcome failure =
        PlaceRun(*uffd, "ioctl(UFFDIO_COPY)", address, page_size, count, &outcomes[first],
                 [&](uint64_t done, uint64_t length) {
                   return Copy(*uffd, address + done, source + done, length, mode);
                 });
    if (failure) return Throw(info.Env(), *failure);
    first += count;
  }
  return Napi::Number::New(info.Env(), static_cast<double>(CountPlaced(outcomes, pages.size())));
}

Napi::Value PlaceZeroPages(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto block = arguments.Handle<RamBlock>("block");
  const uint64_t page_size = TakePlacedPageSize(arguments, block.get());
  if (arguments.failed()) return {};
  const std::vector<uint32_t> pages = TakePages(arguments, block.get(), page_size);
  const auto outcomes = arguments.Array<uint8_t>("outcomes");
  arguments.Require(outcomes.size() >= pages.size(), "outcomes", "hold a byte for every page");
  if (arguments.failed()) return {};

  std::fill_n(outcomes.data(), pages.size(), kNotTried);
  // The kernel has no zero page to map for hugetlb: copy one.
  const bool copies = block->kind == kMemoryHugetlb;
  std::optional<ZeroSource> zeroes;
  if (copies && zeroes.emplace(page_size).base() == nullptr) {
    return Throw(info.Env(), {ENOMEM, "mmap", {}});
  }
  const char* syscall = copies ? "ioctl(UFFDIO_COPY)" : "ioctl(UFFDIO_ZEROPAGE)";
  for (size_t first = 0; first < pages.size();) {
    const size_t count = copies ? 1 : RunLength(pages, first, 1);
    const uint64_t address = block->AddressOf(pages[first] * page_size);
    const Outcome failure =
        PlaceRun(*uffd, syscall, address, page_size, count, &outcomes[first],
                 [&](uint64_t done, uint64_t length) {
                   if (copies) return Copy(*uffd, address + done, zeroes->base(), length, 0);
                   uffdio_zeropage request{{address + done, length}, 0, 0};
                   const int result = ioctl(uffd->fd.get(), UFFDIO_ZEROPAGE, &request);
                   return Progress(result, request.zeropage);
                 });
    if (failure) return Throw(info.Env(), *failure);
    first += count;
  }
  return Napi::Number::New(info.Env(), static_cast<double>(CountPlaced(outcomes, pages.size())));
}

Napi::Value UserfaultfdContinue(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto block = arguments.Handle<RamBlock>("block");
  const Range range = TakePageRange(arguments, block.get());
  if (arguments.failed()) return {};
  return WholeRange(
      info.Env(), "ioctl(UFFDIO_CONTINUE)", range, [&](uint64_t done, uint64_t length) {
        uffdio_continue request{{block->AddressOf(range.offset + done), length}, 0, 0};
        const int result = ioctl(uffd->fd.get(), UFFDIO_CONTINUE, &request);
        return Progress(result, request.mapped);
      });
}

Napi::Value UserfaultfdMove(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto target = arguments.Handle<RamBlock>("target");
  const uint64_t target_offset = arguments.Integer("targetOffset");
  const auto source = arguments.Handle<RamBlock>("source");
  const Range range = TakePageRange(arguments, source.get(), "sourceOffset");
  if (arguments.failed()) return {};
  arguments.Require(target_offset % target->page_size == 0, "targetOffset",
                    "be a multiple of the target's page size");
  arguments.Require(target_offset <= target->size && range.length <= target->size - target_offset,
                    "length", "end inside the target");
  if (arguments.failed()) return {};
  return WholeRange(info.Env(), "ioctl(UFFDIO_MOVE)", range, [&](uint64_t done, uint64_t length) {
    UffdioMove request{target->AddressOf(target_offset + done),
                       source->AddressOf(range.offset + done), length, 0, 0};
    const int result = ioctl(uffd->fd.get(), kUffdioMove, &request);
    return Progress(result, request.move);
  });
}

Napi::Value UserfaultfdWriteProtect(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto block = arguments.Handle<RamBlock>("block");
  const Range range = TakePageRange(arguments, block.get());
  const uint64_t mode =
      arguments.Integer("mode", 0, UFFDIO_WRITEPROTECT_MODE_WP | UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
  if (arguments.failed()) return {};
  uffdio_writeprotect request{{block->AddressOf(range.offset), range.length}, mode};
  if (ioctl(uffd->fd.get(), UFFDIO_WRITEPROTECT, &request) < 0) {
    return Throw(info.Env(), RangeFailure("ioctl(UFFDIO_WRITEPROTECT)", range));
  }
  return info.Env().Undefined();
}

Napi::Value UserfaultfdPoison(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto block = arguments.Handle<RamBlock>("block");
  const Range range = TakePageRange(arguments, block.get());
  if (arguments.failed()) return {};
  return WholeRange(info.Env(), "ioctl(UFFDIO_POISON)", range, [&](uint64_t done, uint64_t length) {
    UffdioPoison request{{block->AddressOf(range.offset + done), length}, 0, 0};
    const int result = ioctl(uffd->fd.get(), kUffdioPoison, &request);
    return Progress(result, request.updated);
  });
}

Napi::Value UserfaultfdWake(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto block = arguments.Handle<RamBlock>("block");
  const Range range = TakePageRange(arguments, block.get());
  if (arguments.failed()) return {};
  if (const Outcome failure = WakeRange(*uffd, block->AddressOf(range.offset), range.length)) {
    return Throw(info.Env(), *failure);
  }
  return info.Env().Undefined();
}

Napi::Value AwaitEvents(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto kick = arguments.Handle<Eventfd>("kick");
  const int timeout_ms = arguments.TimeoutMs("timeoutMs");
  if (arguments.failed()) return {};
  switch (WaitFor(uffd->fd.get(), POLLIN, *kick, timeout_ms)) {
    case Wake::kReady:
      return Napi::Number::New(info.Env(), 1);
    case Wake::kKicked:
      return Napi::Number::New(info.Env(), kKicked);
    case Wake::kTimedOut:
      return Napi::Number::New(info.Env(), 0);
    case Wake::kFailed:
      break;
  }
  return Throw(info.Env(), {errno, "poll", {}});
}

Napi::Value ReadEvents(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto uffd = arguments.Handle<Userfaultfd>("uffd");
  const auto kick = arguments.Handle<Eventfd>("kick");
  const auto events = arguments.Array<double>("events");
  const int timeout_ms = arguments.TimeoutMs("timeoutMs");
  arguments.Require(events.size() >= kEventWords, "events", "have room for an event");
  if (arguments.failed()) return {};

  std::array<uffd_msg, kMessagesPerRead> messages;
  const size_t wanted = std::min(events.size() / kEventWords, kMessagesPerRead);
  for (;;) {
    if (kick->signalled.load()) return Napi::Number::New(info.Env(), kKicked);
    // Read first: with faults waiting this is the only system call.
    const ssize_t bytes = read(uffd->fd.get(), messages.data(), wanted * sizeof(uffd_msg));
    if (bytes >= 0) {
      const size_t count = static_cast<size_t>(bytes) / sizeof(uffd_msg);
      for (size_t i = 0; i < count; i++) DecodeEvent(messages[i], &events[i * kEventWords]);
      return Napi::Number::New(info.Env(), static_cast<double>(count));
    }
    if (errno != EAGAIN && errno != EINTR) return Throw(info.Env(), {errno, "read", {}});
    switch (WaitFor(uffd->fd.get(), POLLIN, *kick, timeout_ms)) {
      case Wake::kReady:
        break;
      case Wake::kKicked:
        return Napi::Number::New(info.Env(), kKicked);
      case Wake::kTimedOut:
        return Napi::Number::New(info.Env(), 0);
      case Wake::kFailed:
        return Throw(info.Env(), {errno, "poll", {}});
    }
  }
}

}  // namespace postcopy
