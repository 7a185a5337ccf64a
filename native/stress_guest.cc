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
#include "stress_order.h"
#include "stress_page.h"
#include "thread.h"

namespace postcopy {

namespace {

constexpr uint32_t kMaxVcpus = 64;
constexpr uint32_t kMaxWritesPerSecond = 1'000'000'000;
constexpr int64_t kMaxCatchUpNs = 10'000'000;
constexpr auto kCloseWait = std::chrono::milliseconds(200);
constexpr size_t kReportedBadPages = 16;
// A page that has it is written no more, so a sequence number never wraps. No run comes near: it
// takes over an hour of a million writes a second to one and the same page.
constexpr uint32_t kLastSequence = UINT32_MAX;

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
  StressMachine(std::shared_ptr<RamBlock> its_block, const Options& its_options)
      : block(std::move(its_block)),
        options(its_options),
        vcpus(its_options.vcpus),
        sequences(its_options.working_set_pages) {
    for (uint32_t index = 0; index < options.vcpus; index++) {
      vcpus[index].order = FirstStressOrder(options.seed, index);
    }
  }

  const std::shared_ptr<RamBlock> block;
  const Options options;
  std::vector<Vcpu> vcpus;
  // Of every page of the working set, the sequence number of its last complete write. Entry by
  // entry, written by the vCPU that owns the page.
  std::vector<uint32_t> sequences;

  // Asked once a page, without the mutex.
  std::atomic<bool> running = false;
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

  void* Page(uint64_t page) const { return block->base + page * kStressPageBytes; }
  uint64_t PagesOf(uint32_t vcpu) const {
    return (options.working_set_pages - vcpu + options.vcpus - 1) / options.vcpus;
  }
  // The sequence number of a page to be filled that no vCPU has written yet.
  uint32_t FirstSequence() const { return filled ? 1 : 0; }
  // The sequence number that any page of the block must have while no vCPU writes.
  uint32_t DueSequence(uint64_t page) const {
    if (page < sequences.size()) return sequences[page];
    return page < options.filled_pages ? FirstSequence() : 0;
  }
  bool AllParked() const { return parked == threads; }
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
  const uint64_t page = vcpu.order.Draw(count) * machine.options.vcpus + index;
  const uint32_t expected = machine.sequences[page];
  if (expected == kLastSequence) return;
  void* memory = machine.Page(page);
  const StressPageFinding finding = ExamineStressPage(memory, machine.options.seed, page, expected);
  if (finding.state != StressPageState::kGood) {
    Add(vcpu.bad_pages, 1);
    Add(vcpu.lost_writes, finding.lost_writes);
  }
  WriteStressPage(memory, machine.options.seed, page, expected + 1);
  machine.sequences[page] = expected + 1;
  Add(vcpu.writes, 1);
  Add(vcpu.writes_here, 1);
  if (machine.first_write_us.load(std::memory_order_relaxed) == 0) {
    double none = 0;
    machine.first_write_us.compare_exchange_strong(none, MonotonicMicros());
  }
}

// Writes pages at the machine's rate until it is told to stop. A vCPU never sleeps: between writes
// it spins, as a guest with work to do.
void RunVcpu(StressMachine& machine, uint32_t index) {
  const uint64_t count = machine.PagesOf(index);
  const int64_t interval_ns =
      machine.options.writes_per_second == 0
          ? 0
          : int64_t{1'000'000'000} * machine.options.vcpus / machine.options.writes_per_second;
  int64_t due_ns = MonotonicNs();
  while (machine.running.load(std::memory_order_relaxed)) {
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
constexpr uint32_t kVersion = 2;
constexpr size_t kHeaderBytes = 36;
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

size_t StateBytes(const Options& options) {
  return kHeaderBytes + options.vcpus * kVcpuBytes +
         size_t{options.working_set_pages} * sizeof(uint32_t);
}

// Why options don't fit a block, or nullptr.
const char* OptionsProblem(const Options& options, const RamBlock& block) {
  const uint64_t pages = block.size / kStressPageBytes;
  if (options.vcpus < 1 || options.vcpus > kMaxVcpus) return "have 1 to 64 vcpus";
  if (options.filled_pages > pages) return "not fill more pages than the block has";
  if (options.working_set_pages < options.vcpus ||
      options.working_set_pages > options.filled_pages) {
    return "have a working set of at least vcpus and at most filledPages pages";
  }
  if (options.writes_per_second > kMaxWritesPerSecond) return "write at most 1e9 pages a second";
  return nullptr;
}

// A machine from its device state, or null and why not.
std::shared_ptr<StressMachine> Parse(std::span<const uint8_t> state,
                                     const std::shared_ptr<RamBlock>& block, const char** problem) {
  const auto refuse = [&](const char* why) {
    *problem = why;
    return nullptr;
  };
  if (state.size() < kHeaderBytes) return refuse("be a whole device state");
  const uint8_t* at = state.data();
  if (memcmp(at, kMagic.data(), kMagic.size()) != 0) return refuse("begin with the magic");
  at += kMagic.size();
  if (Fetch<uint32_t>(at) != kVersion) return refuse("be of version 2");
  const auto flags = Fetch<uint32_t>(at);
  if ((flags & ~kFlagFilled) != 0) return refuse("have known flags only");
  Options options;
  options.vcpus = Fetch<uint32_t>(at);
  options.seed = Fetch<uint32_t>(at);
  options.filled_pages = Fetch<uint32_t>(at);
  options.working_set_pages = Fetch<uint32_t>(at);
  options.writes_per_second = Fetch<uint32_t>(at);
  if (const char* why = OptionsProblem(options, *block)) return refuse(why);
  if (state.size() != StateBytes(options)) return refuse("hold exactly its vcpus and pages");
  auto machine = std::make_shared<StressMachine>(block, options);
  machine->filled = (flags & kFlagFilled) != 0;
  for (Vcpu& vcpu : machine->vcpus) {
    vcpu.order.state = Fetch<uint64_t>(at);
    vcpu.writes = Fetch<uint64_t>(at);
  }
  std::vector<uint32_t>& sequences = machine->sequences;
  memcpy(sequences.data(), at, sequences.size() * sizeof(uint32_t));
  const uint32_t first = machine->FirstSequence();
  for (uint32_t index = 0; index < options.vcpus; index++) {
    uint64_t writes = 0;  // of less than 2^32 pages, less than 2^32 each
    for (size_t page = index; page < sequences.size(); page += options.vcpus) {
      if (sequences[page] < first) return refuse("have a sequence number for every filled page");
      writes += sequences[page] - first;
    }
    if (writes != machine->vcpus[index].writes) {
      return refuse("have sequence numbers that add up to the writes of each vcpu");
    }
  }
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
    const Options& options = machine().options;
    for (uint64_t page = 0; page < options.filled_pages; page++) {
      WriteStressPage(machine().Page(page), options.seed, page, 1);
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
    const StressMachine& machine = this->machine();
    const Options& options = machine.options;
    const uint64_t pages = machine.block->size / kStressPageBytes;
    for (uint64_t page = 0; page < pages; page++) {
      const StressPageFinding finding =
          ExamineStressPage(machine.Page(page), options.seed, page, machine.DueSequence(page));
      Count(finding.state)++;
      lost_writes_ += finding.lost_writes;
      if (finding.state != StressPageState::kGood && bad_pages_.size() < kReportedBadPages) {
        bad_pages_.push_back(page);
      }
    }
    pages_checked_ = pages;
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
  const auto block = arguments.Handle<RamBlock>("block");
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
  const char* problem = OptionsProblem(options, *block);
  arguments.Require(problem == nullptr, "options", problem == nullptr ? "" : problem);
  if (arguments.failed()) return {};
  auto guest = std::make_shared<StressGuest>();
  guest->machine = std::make_shared<StressMachine>(block, options);
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
    // Threads that had not come to run again are parked already, and nobody else will note the
    // time.
    if (machine->AllParked()) machine->stopped_us = MonotonicMicros();
  }
  const bool stopped = machine->changed.wait_for(lock, std::chrono::milliseconds(wait_ms),
                                                 [&] { return machine->AllParked(); });
  return Napi::Boolean::New(info.Env(), stopped);
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
  Napi::Uint8Array state = Napi::Uint8Array::New(info.Env(), StateBytes(options));
  uint8_t* at = state.Data();
  at = std::copy(kMagic.begin(), kMagic.end(), at);
  Store(at, kVersion);
  Store(at, machine->filled ? kFlagFilled : uint32_t{0});
  for (const uint32_t option : {options.vcpus, options.seed, options.filled_pages,
                                options.working_set_pages, options.writes_per_second}) {
    Store(at, option);
  }
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
  auto machine = Parse(state, guest->machine->block, &problem);
  arguments.Require(machine != nullptr, "state", problem == nullptr ? "" : problem);
  if (arguments.failed()) return {};
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
