// The stress guest; see stress_guest.h and docs/stress-guest.md.
//
// Threads: one per vCPU (`stress-vcpu/N`), made at the first start and detached; fill and verify
// run in libuv's pool; everything else in the caller's thread. Invariants:
//  1. vCPU k of n writes only pages of the working set whose index is k modulo n: neither a page
//     nor its entry in the table of sequence numbers has two writers.
//  2. A parked vCPU touches neither RAM nor its progress; both may then be read by others. It parks
//     between writes only: the table then says exactly what RAM must hold.
//  3. Nothing joins a vCPU: one that is blocked in a fault at the end is left, and keeps the
//     machine and the block alive.
#include "stress_guest.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "async.h"
#include "ram_block.h"
#include "stress_blocks.h"
#include "stress_order.h"
#include "stress_page.h"
#include "thread.h"

namespace postcopy {

namespace {

constexpr uint32_t kMaxBlocks = 64;
constexpr uint32_t kMaxVcpus = 64;
constexpr uint32_t kMaxWritesPerSecond = 1'000'000'000;
constexpr int64_t kMaxCatchUpNs = 10'000'000;
// How long a vCPU that is held back runs between two rests.
constexpr int64_t kTimeSliceNs = 10'000'000;
constexpr uint32_t kMaxThrottlePercent = 99;
constexpr auto kCloseWait = std::chrono::milliseconds(200);
constexpr size_t kReportedBadPages = 16;
// A page that has it is written no more, so a sequence number never wraps. No run comes near: it
// takes over an hour of a million writes a second to one and the same page.
constexpr uint32_t kLastSequence = UINT32_MAX;

using BlockList = std::vector<std::shared_ptr<RamBlock>>;

struct Options {
  uint32_t vcpus;
  uint32_t seed;
  uint32_t filled_pages;
  uint32_t working_set_pages;
  uint32_t writes_per_second;
};

// A vCPU's progress: written by its thread, read by anyone. On cache lines of its own.
struct alignas(64) Vcpu {
  StressOrder order;
  std::atomic<pid_t> thread = 0;  // its kernel thread id, once it has begun
  std::atomic<uint64_t> writes = 0;
  std::atomic<uint64_t> writes_here = 0;
  std::atomic<uint64_t> bad_pages = 0;
  std::atomic<uint64_t> lost_writes = 0;
};

// Only its own thread writes a counter: no read-modify-write is needed.
void Add(std::atomic<uint64_t>& counter, uint64_t amount) {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

enum class Mode { kStopped, kRunning, kExamined, kClosed };

}  // namespace

struct StressMachine {
  StressMachine(BlockList its_ram, const Options& its_options)
      : ram(std::move(its_ram)),
        blocks(ram, its_options.filled_pages, its_options.working_set_pages),
        options(its_options),
        vcpus(its_options.vcpus),
        sequences(its_options.working_set_pages) {
    for (uint32_t index = 0; index < options.vcpus; index++) {
      vcpus[index].order = FirstStressOrder(options.seed, index);
    }
  }

  const BlockList ram;
  const StressBlocks blocks;
  const Options options;
  std::vector<Vcpu> vcpus;
  // Of every page of the working set, in its numbering, the sequence number of the last complete
  // write. Entry by entry, written by the vCPU that owns the page.
  std::vector<uint32_t> sequences;

  // Asked once a page, without the mutex.
  std::atomic<bool> running = false;
  std::atomic<uint32_t> throttle_percent = 0;
  std::atomic<double> started_us = 0;
  std::atomic<double> first_write_us = 0;
  std::atomic<double> stopped_us = 0;

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  Mode mode = Mode::kStopped;
  bool filled = false;
  uint32_t threads = 0;  // made
  uint32_t parked = 0;
  uint32_t ended = 0;

  uint64_t PagesOf(uint32_t vcpu) const {
    return (options.working_set_pages - vcpu + options.vcpus - 1) / options.vcpus;
  }
  // The sequence number of a page to be filled that no vCPU has written yet.
  uint32_t FirstSequence() const { return filled ? 1 : 0; }
  // The sequence number that a page of a block must have while no vCPU writes.
  uint32_t DueSequence(const StressBlock& block, uint64_t page) const {
    if (page < block.working_pages) return sequences[block.first_working + page];
    return page < block.filled_pages ? FirstSequence() : 0;
  }
  bool AllParked() const { return parked == threads; }
  bool AllBegun() const {
    return std::all_of(vcpus.begin(), vcpus.begin() + threads,
                       [](const Vcpu& vcpu) { return vcpu.thread != 0; });
  }
};

namespace {

Failure Busy(const char* call) { return {EBUSY, call, {}}; }

// --- vCPU threads ----------------------------------------------------------------------------

void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Writes one of the vCPU's `count` pages, after checking what it finds: this is where it faults.
void WriteNextPage(StressMachine& machine, uint32_t index, uint64_t count) {
  Vcpu& vcpu = machine.vcpus[index];
  const uint64_t number = vcpu.order.Draw(count) * machine.options.vcpus + index;
  const uint32_t expected = machine.sequences[number];
  if (expected == kLastSequence) return;
  const auto [page, memory] = machine.blocks.Working(number);
  const StressPageFinding finding = ExamineStressPage(memory, machine.options.seed, page, expected);
  if (finding.state != StressPageState::kGood) {
    Add(vcpu.bad_pages, 1);
    Add(vcpu.lost_writes, finding.lost_writes);
  }
  WriteStressPage(memory, machine.options.seed, page, expected + 1);
  machine.sequences[number] = expected + 1;
  Add(vcpu.writes, 1);
  Add(vcpu.writes_here, 1);
  if (machine.first_write_us.load(std::memory_order_relaxed) == 0) {
    double none = 0;
    machine.first_write_us.compare_exchange_strong(none, MonotonicMicros());
  }
}

// The rest after a time slice, which makes `percent` of the time together with it; returns the
// nanoseconds it took. A stop and a change of the throttle end it at once.
int64_t Rest(StressMachine& machine, uint32_t percent) {
  const int64_t begin_ns = MonotonicNs();
  const std::chrono::nanoseconds rest(kTimeSliceNs * percent / (100 - percent));
  std::unique_lock lock(machine.mutex);
  machine.changed.wait_for(lock, rest,
                           [&] { return !machine.running || machine.throttle_percent != percent; });
  return MonotonicNs() - begin_ns;
}

// Writes pages at the machine's rate until it is told to stop. A vCPU sleeps only when it is held
// back: between writes it spins, as a guest with work to do.
void RunVcpu(StressMachine& machine, uint32_t index) {
  const uint64_t count = machine.PagesOf(index);
  const int64_t interval_ns =
      machine.options.writes_per_second == 0
          ? 0
          : int64_t{1'000'000'000} * machine.options.vcpus / machine.options.writes_per_second;
  int64_t due_ns = MonotonicNs();
  int64_t slice_end_ns = due_ns + kTimeSliceNs;
  while (machine.running.load(std::memory_order_relaxed)) {
    const uint32_t percent = machine.throttle_percent.load(std::memory_order_relaxed);
    if (percent > 0 && MonotonicNs() >= slice_end_ns) {
      due_ns += Rest(machine, percent);  // what it would have written is not caught up
      slice_end_ns = MonotonicNs() + kTimeSliceNs;
      continue;
    }
    if (interval_ns > 0) {
      const int64_t now_ns = MonotonicNs();
      if (now_ns < due_ns) {
        for (int i = 0; i < 32; i++) Relax();
        sched_yield();
        continue;
      }
      due_ns = std::max(due_ns, now_ns - kMaxCatchUpNs) + interval_ns;
    }
    WriteNextPage(machine, index, count);
  }
}

struct VcpuStart {
  std::shared_ptr<StressMachine> machine;
  uint32_t index;
};

void* VcpuMain(void* data) {
  const std::unique_ptr<VcpuStart> start(static_cast<VcpuStart*>(data));
  StressMachine& machine = *start->machine;
  NameThisThread(("stress-vcpu/" + std::to_string(start->index)).c_str());
  std::unique_lock lock(machine.mutex);
  machine.vcpus[start->index].thread = gettid();
  machine.changed.notify_all();
  for (;;) {
    if (machine.mode == Mode::kClosed) break;
    if (machine.mode == Mode::kRunning) {
      lock.unlock();
      RunVcpu(machine, start->index);
      lock.lock();
      continue;
    }
    machine.parked++;
    if (machine.AllParked() && machine.mode == Mode::kStopped) {
      machine.stopped_us = MonotonicMicros();
    }
    machine.changed.notify_all();
    machine.changed.wait(
        lock, [&] { return machine.mode == Mode::kRunning || machine.mode == Mode::kClosed; });
    machine.parked--;
  }
  machine.ended++;
  machine.changed.notify_all();
  return nullptr;
}

// Makes the vCPU threads that are not there yet; the caller holds the mutex.
Outcome MakeThreads(const std::shared_ptr<StressMachine>& machine) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  int error = 0;
  while (error == 0 && machine->threads < machine->options.vcpus) {
    auto start = std::make_unique<VcpuStart>(VcpuStart{machine, machine->threads});
    pthread_t thread;
    error = pthread_create(&thread, &attributes, VcpuMain, start.get());
    if (error != 0) break;
    start.release();  // the thread owns it now
    machine->threads++;
  }
  pthread_attr_destroy(&attributes);
  if (error == 0) return {};
  return Failure{error, "pthread_create", {{"vcpu", static_cast<double>(machine->threads)}}};
}

// Ends the vCPU threads; returns how many are blocked and left behind.
uint32_t EndThreads(StressMachine& machine) {
  std::unique_lock lock(machine.mutex);
  machine.mode = Mode::kClosed;
  machine.running = false;
  machine.changed.notify_all();
  machine.changed.wait_for(lock, kCloseWait, [&] { return machine.ended == machine.threads; });
  return machine.threads - machine.ended;
}

// --- device state ----------------------------------------------------------------------------

// Little-endian. docs/stress-guest.md has the layout.
constexpr std::array<char, 8> kMagic = {'s', 't', 'r', 'e', 's', 's', 'v', 'm'};
constexpr uint32_t kVersion = 3;
constexpr size_t kHeaderBytes = 40;
constexpr size_t kBlockBytes = 4;
constexpr size_t kVcpuBytes = 16;
constexpr uint32_t kFlagFilled = 1;
// Saving is part of a migration's downtime, so the table is copied as it lies in memory.
static_assert(std::endian::native == std::endian::little, "the table is little-endian");

template <class T>
void Store(uint8_t*& at, T value) {
  for (size_t i = 0; i < sizeof(T); i++) *at++ = static_cast<uint8_t>(value >> (8 * i));
}

template <class T>
T Fetch(const uint8_t*& at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); i++) value |= static_cast<T>(*at++) << (8 * i);
  return value;
}

size_t StateBytes(const BlockList& ram, const Options& options) {
  return kHeaderBytes + ram.size() * kBlockBytes + options.vcpus * kVcpuBytes +
         size_t{options.working_set_pages} * sizeof(uint32_t);
}

// Why options don't fit the blocks, or nullptr.
const char* OptionsProblem(const Options& options, const BlockList& ram) {
  if (options.vcpus < 1 || options.vcpus > kMaxVcpus) return "have 1 to 64 vcpus";
  if (options.filled_pages > StressBlocks::PagesOf(ram)) {
    return "not fill more pages than the blocks have";
  }
  if (options.working_set_pages < options.vcpus ||
      options.working_set_pages > options.filled_pages) {
    return "have a working set of at least vcpus and at most filledPages pages";
  }
  if (options.writes_per_second > kMaxWritesPerSecond) return "write at most 1e9 pages a second";
  return nullptr;
}

// Takes the sequence numbers of the working set; returns why they can't be, or nullptr.
const char* TakeSequences(StressMachine& machine, const uint8_t* at) {
  std::vector<uint32_t>& sequences = machine.sequences;
  memcpy(sequences.data(), at, sequences.size() * sizeof(uint32_t));
  const uint32_t first = machine.FirstSequence();
  const size_t vcpus = machine.vcpus.size();
  for (size_t index = 0; index < vcpus; index++) {
    uint64_t writes = 0;  // of less than 2^32 pages, less than 2^32 each
    for (size_t number = index; number < sequences.size(); number += vcpus) {
      if (sequences[number] < first) return "have a sequence number for every filled page";
      writes += sequences[number] - first;
    }
    if (writes != machine.vcpus[index].writes) {
      return "have sequence numbers that add up to the writes of each vcpu";
    }
  }
  return nullptr;
}

// A machine from its device state, or null and why not.
std::shared_ptr<StressMachine> Parse(std::span<const uint8_t> state, const BlockList& ram,
                                     const char** problem) {
  const auto refuse = [&](const char* why) {
    *problem = why;
    return nullptr;
  };
  if (state.size() < kHeaderBytes) return refuse("be a whole device state");
  const uint8_t* at = state.data();
  if (memcmp(at, kMagic.data(), kMagic.size()) != 0) return refuse("begin with the magic");
  at += kMagic.size();
  if (Fetch<uint32_t>(at) != kVersion) return refuse("be of version 3");
  const auto flags = Fetch<uint32_t>(at);
  if ((flags & ~kFlagFilled) != 0) return refuse("have known flags only");
  Options options;
  options.vcpus = Fetch<uint32_t>(at);
  options.seed = Fetch<uint32_t>(at);
  options.filled_pages = Fetch<uint32_t>(at);
  options.working_set_pages = Fetch<uint32_t>(at);
  options.writes_per_second = Fetch<uint32_t>(at);
  if (Fetch<uint32_t>(at) != ram.size()) return refuse("have as many blocks as there are here");
  if (const char* why = OptionsProblem(options, ram)) return refuse(why);
  if (state.size() != StateBytes(ram, options)) {
    return refuse("hold exactly its blocks, vcpus and pages");
  }
  for (const auto& block : ram) {
    if (Fetch<uint32_t>(at) != block->size / kStressPageBytes) {
      return refuse("have blocks of the sizes they have here");
    }
  }
  auto machine = std::make_shared<StressMachine>(ram, options);
  machine->filled = (flags & kFlagFilled) != 0;
  for (Vcpu& vcpu : machine->vcpus) {
    vcpu.order.state = Fetch<uint64_t>(at);
    vcpu.writes = Fetch<uint64_t>(at);
  }
  if (const char* why = TakeSequences(*machine, at)) return refuse(why);
  return machine;
}

// --- fill and verify -------------------------------------------------------------------------

// A call that has the machine to itself: from its start until Run returns it is neither stopped nor
// running for anyone else.
class Examination : public AsyncCall {
 public:
  explicit Examination(std::shared_ptr<StressMachine> machine) : machine_(std::move(machine)) {}

  // Takes the machine; false when it is not stopped.
  bool Begin() {
    const std::lock_guard lock(machine_->mutex);
    if (machine_->mode != Mode::kStopped || !machine_->AllParked()) return false;
    machine_->mode = Mode::kExamined;
    return true;
  }

  Outcome Run() final {
    Examine();
    const std::lock_guard lock(machine_->mutex);
    if (machine_->mode == Mode::kExamined) machine_->mode = Mode::kStopped;
    return {};
  }

 protected:
  virtual void Examine() = 0;
  StressMachine& machine() { return *machine_; }

 private:
  const std::shared_ptr<StressMachine> machine_;
};

class Fill final : public Examination {
 public:
  using Examination::Examination;

  napi_value Settle(napi_env env) override { return Napi::Env(env).Undefined(); }

 private:
  void Examine() override {
    const uint32_t seed = machine().options.seed;
    for (const StressBlock& block : machine().blocks) {
      for (uint64_t page = 0; page < block.filled_pages; page++) {
        WriteStressPage(block.Page(page), seed, block.first_page + page, 1);
      }
    }
    std::ranges::fill(machine().sequences, 1);
    machine().filled = true;
  }
};

class Verify final : public Examination {
 public:
  using Examination::Examination;

  napi_value Settle(napi_env env) override {
    Napi::Object verdict = Napi::Object::New(env);
    const auto set = [&](const char* name, uint64_t value) {
      verdict.Set(name, static_cast<double>(value));
    };
    set("pagesChecked", pages_checked_);
    set("lostPages", Count(StressPageState::kLost));
    set("tornPages", Count(StressPageState::kTorn));
    set("stalePages", Count(StressPageState::kStale));
    set("lostWrites", lost_writes_);
    Napi::Array bad = Napi::Array::New(env, bad_pages_.size());
    for (uint32_t i = 0; i < bad_pages_.size(); i++) {
      bad.Set(i, static_cast<double>(bad_pages_[i]));
    }
    verdict.Set("badPages", bad);
    return verdict;
  }

 private:
  uint64_t& Count(StressPageState state) { return counts_[static_cast<size_t>(state)]; }

  void Examine() override {
    for (const StressBlock& block : machine().blocks) {
      for (uint64_t page = 0; page < block.pages; page++) {
        Judge(block.first_page + page,
              ExamineStressPage(block.Page(page), machine().options.seed, block.first_page + page,
                                machine().DueSequence(block, page)));
      }
    }
  }

  void Judge(uint64_t page, const StressPageFinding& finding) {
    pages_checked_++;
    Count(finding.state)++;
    lost_writes_ += finding.lost_writes;
    if (finding.state != StressPageState::kGood && bad_pages_.size() < kReportedBadPages) {
      bad_pages_.push_back(page);
    }
  }

  uint64_t pages_checked_ = 0;
  std::array<uint64_t, 4> counts_{};
  uint64_t lost_writes_ = 0;
  std::vector<uint64_t> bad_pages_;
};

std::shared_ptr<StressMachine> MachineOf(StressGuest& guest) {
  const std::lock_guard lock(guest.mutex);
  return guest.machine;
}

}  // namespace

Napi::Value StressGuestCreate(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const BlockList ram = arguments.Handles<RamBlock>("blocks", 1, kMaxBlocks);
  const Napi::Object object = arguments.Dictionary("options");
  const auto take = [&](const char* name, uint64_t minimum, uint64_t maximum) {
    return static_cast<uint32_t>(arguments.IntegerProperty(object, name, minimum, maximum));
  };
  Options options;
  options.vcpus = take("vcpus", 1, kMaxVcpus);
  options.seed = take("seed", 0, UINT32_MAX);
  options.filled_pages = take("filledPages", 0, UINT32_MAX);
  options.working_set_pages = take("workingSetPages", 0, UINT32_MAX);
  options.writes_per_second = take("writesPerSecond", 0, kMaxWritesPerSecond);
  if (arguments.failed()) return {};
  arguments.Require(StressBlocks::PagesOf(ram) <= UINT32_MAX, "blocks",
                    "have less than 2^32 pages of 4096 bytes");
  const bool distinct = std::ranges::all_of(
      ram, [&](const auto& block) { return std::ranges::count(ram, block) == 1; });
  arguments.Require(distinct, "blocks", "be different ones");
  const char* problem = OptionsProblem(options, ram);
  arguments.Require(problem == nullptr, "options", problem == nullptr ? "" : problem);
  if (arguments.failed()) return {};
  auto guest = std::make_shared<StressGuest>();
  guest->machine = std::make_shared<StressMachine>(ram, options);
  return Napi::Number::New(info.Env(), static_cast<double>(InsertHandle(std::move(guest))));
}

Napi::Value StressGuestFill(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto guest = arguments.Handle<StressGuest>("guest");
  if (arguments.failed()) return {};
  const auto machine = MachineOf(*guest);
  auto fill = std::make_unique<Fill>(machine);
  // A fill after writes would contradict the vCPUs' progress.
  const bool written =
      std::ranges::any_of(machine->vcpus, [](const Vcpu& vcpu) { return vcpu.writes.load() > 0; });
  if (written) return Throw(info.Env(), {EINVAL, "stressGuestFill", {}});
  if (!fill->Begin()) return Throw(info.Env(), Busy("stressGuestFill"));
  return StartAsync(info.Env(), "postcopy:stressGuestFill", std::move(fill));
}

Napi::Value StressGuestStart(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto guest = arguments.Handle<StressGuest>("guest");
  if (arguments.failed()) return {};
  const auto machine = MachineOf(*guest);
  const std::lock_guard lock(machine->mutex);
  if (machine->mode == Mode::kRunning) return info.Env().Undefined();
  if (machine->mode != Mode::kStopped) return Throw(info.Env(), Busy("stressGuestStart"));
  if (const Outcome failure = MakeThreads(machine)) return Throw(info.Env(), *failure);
  machine->started_us = MonotonicMicros();
  machine->first_write_us = 0;
  machine->mode = Mode::kRunning;
  machine->running = true;
  machine->changed.notify_all();
  return info.Env().Undefined();
}

Napi::Value StressGuestStop(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto guest = arguments.Handle<StressGuest>("guest");
  const auto wait_ms = arguments.Integer("waitMs", 0, INT32_MAX);
  if (arguments.failed()) return {};
  const auto machine = MachineOf(*guest);
  std::unique_lock lock(machine->mutex);
  if (machine->mode == Mode::kRunning) {
    machine->mode = Mode::kStopped;
    machine->running = false;
    machine->changed.notify_all();  // who rests parks at once
    // Threads that had not come to run again are parked already, and nobody else will note the
    // time.
    if (machine->AllParked()) machine->stopped_us = MonotonicMicros();
  }
  const bool stopped = machine->changed.wait_for(lock, std::chrono::milliseconds(wait_ms),
                                                 [&] { return machine->AllParked(); });
  return Napi::Boolean::New(info.Env(), stopped);
}

Napi::Value StressGuestThrottle(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto guest = arguments.Handle<StressGuest>("guest");
  const auto percent = static_cast<uint32_t>(arguments.Integer("percent", 0, kMaxThrottlePercent));
  if (arguments.failed()) return {};
  const auto machine = MachineOf(*guest);
  const std::lock_guard lock(machine->mutex);
  machine->throttle_percent = percent;
  machine->changed.notify_all();
  return info.Env().Undefined();
}

Napi::Value StressGuestThreads(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto guest = arguments.Handle<StressGuest>("guest");
  if (arguments.failed()) return {};
  const auto machine = MachineOf(*guest);
  std::unique_lock lock(machine->mutex);
  // A thread says its id first of all, before it touches RAM: this can't take long.
  machine->changed.wait(lock, [&] { return machine->AllBegun(); });
  Napi::Array threads = Napi::Array::New(info.Env(), machine->threads);
  for (uint32_t index = 0; index < machine->threads; index++) {
    threads.Set(index, static_cast<double>(machine->vcpus[index].thread));
  }
  return threads;
}

Napi::Value StressGuestSave(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto guest = arguments.Handle<StressGuest>("guest");
  if (arguments.failed()) return {};
  const auto machine = MachineOf(*guest);
  const std::lock_guard lock(machine->mutex);
  if (machine->mode != Mode::kStopped || !machine->AllParked()) {
    return Throw(info.Env(), Busy("stressGuestSave"));
  }
  const Options& options = machine->options;
  Napi::Uint8Array state = Napi::Uint8Array::New(info.Env(), StateBytes(machine->ram, options));
  uint8_t* at = state.Data();
  at = std::copy(kMagic.begin(), kMagic.end(), at);
  Store(at, kVersion);
  Store(at, machine->filled ? kFlagFilled : uint32_t{0});
  for (const uint32_t option : {options.vcpus, options.seed, options.filled_pages,
                                options.working_set_pages, options.writes_per_second}) {
    Store(at, option);
  }
  Store(at, static_cast<uint32_t>(machine->ram.size()));
  for (const StressBlock& block : machine->blocks) Store(at, static_cast<uint32_t>(block.pages));
  for (const Vcpu& vcpu : machine->vcpus) {
    Store(at, vcpu.order.state);
    Store(at, vcpu.writes.load());
  }
  memcpy(at, machine->sequences.data(), machine->sequences.size() * sizeof(uint32_t));
  return state;
}

Napi::Value StressGuestLoad(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto guest = arguments.Handle<StressGuest>("guest");
  const auto state = arguments.Array<uint8_t>("state");
  if (arguments.failed()) return {};
  const std::lock_guard lock(guest->mutex);
  {
    const std::lock_guard machine_lock(guest->machine->mutex);
    if (guest->machine->mode != Mode::kStopped || !guest->machine->AllParked()) {
      return Throw(info.Env(), Busy("stressGuestLoad"));
    }
  }
  const char* problem = nullptr;
  auto machine = Parse(state, guest->machine->ram, &problem);
  arguments.Require(machine != nullptr, "state", problem == nullptr ? "" : problem);
  if (arguments.failed()) return {};
  machine->throttle_percent = guest->machine->throttle_percent.load();
  EndThreads(*guest->machine);
  guest->machine = std::move(machine);
  return info.Env().Undefined();
}

Napi::Value StressGuestVerify(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto guest = arguments.Handle<StressGuest>("guest");
  if (arguments.failed()) return {};
  auto verify = std::make_unique<Verify>(MachineOf(*guest));
  if (!verify->Begin()) return Throw(info.Env(), Busy("stressGuestVerify"));
  return StartAsync(info.Env(), "postcopy:stressGuestVerify", std::move(verify));
}

Napi::Value StressGuestStats(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto guest = arguments.Handle<StressGuest>("guest");
  if (arguments.failed()) return {};
  const auto machine = MachineOf(*guest);
  Napi::Object stats = Napi::Object::New(info.Env());
  const auto sum = [&](const char* name, std::atomic<uint64_t> Vcpu::* counter) {
    uint64_t total = 0;
    for (const Vcpu& vcpu : machine->vcpus) total += (vcpu.*counter).load();
    stats.Set(name, static_cast<double>(total));
  };
  sum("writes", &Vcpu::writes);
  sum("writesHere", &Vcpu::writes_here);
  sum("badPages", &Vcpu::bad_pages);
  sum("lostWrites", &Vcpu::lost_writes);
  stats.Set("startedUs", machine->started_us.load());
  stats.Set("firstWriteUs", machine->first_write_us.load());
  stats.Set("stoppedUs", machine->stopped_us.load());
  return stats;
}

Napi::Value StressGuestClose(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto guest = arguments.Handle<StressGuest>("guest");
  if (arguments.failed()) return {};
  RemoveHandle(arguments.last_handle());
  return Napi::Number::New(info.Env(), EndThreads(*MachineOf(*guest)));
}

}  // namespace postcopy
