// vCPU threads; see kvm_vcpu.h.
//
// One thread per vCPU (`kvm-vcpu/N`), made at the first start and detached: nothing joins one that
// waits for a page at the end. It leaves KVM_RUN for good only through EINTR, so that an exit which
// KVM completes at the next entry, as of port I/O, is complete when it parks.
#include "kvm_vcpu.h"

#if defined(__x86_64__)

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "thread.h"

namespace postcopy {

namespace {

constexpr uint16_t kDebugPort = 0xe9;
constexpr uint16_t kSerialPort = 0x3f8;
constexpr uint16_t kSerialLineStatus = kSerialPort + 5;
// Bit 5: the transmitter takes a byte; bit 6: it has nothing left to send.
constexpr uint8_t kTransmitterEmpty = 0x60;
// How long a vCPU that is held back runs between two rests.
constexpr int64_t kTimeSliceNs = 10'000'000;

// --- the kick --------------------------------------------------------------------------------

void DoNothing(int /*signal*/) {}

// The signal that ends KVM_RUN: the first real-time one that nobody in this process handles.
// 0 where there is none.
int KickSignal() {
  static const int signal = [] {
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
      struct sigaction action{};
      if (sigaction(number, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) continue;
      action = {};
      action.sa_handler = DoNothing;
      if (sigaction(number, &action, nullptr) == 0) return number;
    }
    return 0;
  }();
  return signal;
}

// Whether the thread sleeps in the kernel until a userfaultfd's page is there.
bool WaitsForPage(pid_t thread) {
  const std::string path = "/proc/self/task/" + std::to_string(thread) + "/wchan";
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 64> where{};
  if (!file) return false;
  const ssize_t length = read(file.get(), where.data(), where.size());
  return length > 0 && std::string_view(where.data(), length) == "handle_userfault";
}

// A timer that sends the calling thread the kick.
class SliceTimer {
 public:
  SliceTimer() {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = KickSignal();
    event._sigev_un._tid = gettid();
    made_ = timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  }
  SliceTimer(const SliceTimer&) = delete;
  SliceTimer& operator=(const SliceTimer&) = delete;
  ~SliceTimer() {
    if (made_) timer_delete(timer_);
  }

  // Once, in `ns`; 0 is never.
  void Set(int64_t ns) const {
    const itimerspec when{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = ns}};
    if (made_) timer_settime(timer_, 0, &when, nullptr);
  }

 private:
  timer_t timer_{};
  bool made_ = false;
};

// --- exits -----------------------------------------------------------------------------------

std::string Hex(uint64_t value) {
  std::array<char, 24> text{};
  snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(value));
  return text.data();
}

// What the guest reads at a port: nothing answers at most of them.
uint8_t PortByte(uint16_t port) {
  if (port == kSerialLineStatus) return kTransmitterEmpty;
  return port == kDebugPort ? kDebugPort : 0xff;
}

void AddOutput(KvmMachine& machine, uint32_t index, uint16_t port, char byte) {
  std::unique_lock lock(machine.mutex);
  const KvmVcpu& vcpu = *machine.vcpus[index];
  machine.changed.wait(lock, [&] { return !machine.output.IsFull() || !machine.MayRun(vcpu); });
  machine.output.Add(index, port, byte);
  machine.bell->Ring();
}

// IN or OUT, of one item or of a whole string.
void HandlePort(KvmMachine& machine, uint32_t index) {
  const KvmRunPage& run = machine.vcpus[index]->run;
  const auto [direction, size, port, count, offset] = run->io;
  const std::span data(reinterpret_cast<uint8_t*>(run.get()) + offset, size_t{size} * count);
  if (direction == KVM_EXIT_IO_IN) {
    memset(data.data(), 0xff, data.size());
    for (size_t item = 0; item < count; item++) data[item * size] = PortByte(port);
  } else if (port == kDebugPort || port == kSerialPort) {
    for (size_t item = 0; item < count; item++) {
      AddOutput(machine, index, port, static_cast<char>(data[item * size]));
    }
  }
}

// Of an exit after which the vCPU can't go on: what happened.
std::string DescribeExit(const KvmRunPage& run) {
  switch (run->exit_reason) {
    case KVM_EXIT_SHUTDOWN:
      return "shut down, as after a triple fault";
    case KVM_EXIT_MMIO:
      return (run->mmio.is_write ? "wrote to " : "read from ") + Hex(run->mmio.phys_addr) +
             ", where there is no memory";
    case KVM_EXIT_FAIL_ENTRY:
      return "was not entered by the processor, reason " +
             Hex(run->fail_entry.hardware_entry_failure_reason);
    case KVM_EXIT_INTERNAL_ERROR:
      return "had KVM fail inside, suberror " + std::to_string(run->internal.suberror);
    default:
      return "left KVM with exit reason " + std::to_string(run->exit_reason);
  }
}

void Die(KvmMachine& machine, uint32_t index, std::string reason) {
  kvm_regs registers{};
  ioctl(machine.vcpus[index]->fd.get(), KVM_GET_REGS, &registers);
  const std::lock_guard lock(machine.mutex);
  if (!machine.death) machine.death = {index, std::move(reason), registers.rip};
  KickKvmVcpus(machine);
  machine.bell->Ring();
}

// --- the threads -----------------------------------------------------------------------------

// Runs the vCPU until it is kicked, halts or dies.
void RunVcpu(KvmMachine& machine, uint32_t index) {
  KvmVcpu& vcpu = *machine.vcpus[index];
  for (;;) {
    if (ioctl(vcpu.fd.get(), KVM_RUN, 0) < 0) {
      if (errno == EINTR) return;
      if (errno == EAGAIN) continue;
      const std::string error = ErrnoName(errno);
      return Die(machine, index, "could not be run, ioctl(KVM_RUN): " + error);
    }
    switch (vcpu.run->exit_reason) {
      case KVM_EXIT_IO:
        HandlePort(machine, index);
        break;
      case KVM_EXIT_INTR:
        return;
      case KVM_EXIT_HLT: {
        const std::lock_guard lock(machine.mutex);
        vcpu.halted = true;
        return;
      }
      default:
        return Die(machine, index, DescribeExit(vcpu.run));
    }
  }
}

// The rest after a time slice, which makes `percent` of the time together with it. A stop and a
// change of the throttle end it at once.
void Rest(KvmMachine& machine, const KvmVcpu& vcpu, uint32_t percent,
          std::unique_lock<std::mutex>& lock) {
  const std::chrono::nanoseconds rest(kTimeSliceNs * percent / (100 - percent));
  machine.changed.wait_for(
      lock, rest, [&] { return !machine.MayRun(vcpu) || machine.throttle_percent != percent; });
}

constexpr auto kCloserPause = std::chrono::milliseconds(100);

// Kicks what is left of a closed machine until it has ended.
void* CloserMain(void* data) {
  const std::unique_ptr<std::shared_ptr<KvmMachine>> held(
      static_cast<std::shared_ptr<KvmMachine>*>(data));
  KvmMachine& machine = **held;
  NameThisThread("kvm-closer");
  std::unique_lock lock(machine.mutex);
  while (!machine.changed.wait_for(lock, kCloserPause,
                                   [&] { return machine.ended == machine.threads; })) {
    KickKvmVcpus(machine);
  }
  return nullptr;
}

struct VcpuStart {
  std::shared_ptr<KvmMachine> machine;
  uint32_t index;
};

void* VcpuMain(void* data) {
  const std::unique_ptr<VcpuStart> start(static_cast<VcpuStart*>(data));
  KvmMachine& machine = *start->machine;
  KvmVcpu& vcpu = *machine.vcpus[start->index];
  NameThisThread(("kvm-vcpu/" + std::to_string(start->index)).c_str());
  const SliceTimer timer;
  std::unique_lock lock(machine.mutex);
  vcpu.thread_id = gettid();
  machine.changed.notify_all();
  while (machine.mode != KvmMode::kClosed) {
    if (machine.MayRun(vcpu)) {
      vcpu.run->immediate_exit = 0;
      const uint32_t percent = machine.throttle_percent;
      lock.unlock();
      timer.Set(percent > 0 ? kTimeSliceNs : 0);
      RunVcpu(machine, start->index);
      lock.lock();
      if (percent > 0) Rest(machine, vcpu, percent, lock);
      continue;
    }
    vcpu.parked = true;
    if (machine.AllParked() && machine.mode == KvmMode::kStopped) {
      machine.stopped_us = MonotonicMicros();
    }
    machine.changed.notify_all();
    machine.changed.wait(lock,
                         [&] { return machine.MayRun(vcpu) || machine.mode == KvmMode::kClosed; });
    vcpu.parked = false;
  }
  vcpu.parked = true;  // for good: it is kicked no more
  machine.ended++;
  machine.changed.notify_all();
  return nullptr;
}

// Starts a thread that nothing joins. Signals of the process are for others: it takes the kick
// alone. Returns an errno.
int StartDetached(void* (*main)(void*), void* data) {
  sigset_t all_but_kick;
  sigset_t before;
  sigfillset(&all_but_kick);
  sigdelset(&all_but_kick, KickSignal());
  pthread_sigmask(SIG_SETMASK, &all_but_kick, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, main, data);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

}  // namespace

Outcome MakeKvmThreads(const std::shared_ptr<KvmMachine>& machine) {
  if (KickSignal() == 0) return Failure{EBUSY, "sigaction", {{"signals", std::string("all used")}}};
  while (machine->threads < machine->vcpus.size()) {
    auto start = std::make_unique<VcpuStart>(VcpuStart{machine, machine->threads});
    const int error = StartDetached(VcpuMain, start.get());
    if (error != 0) {
      return Failure{error, "pthread_create", {{"vcpu", static_cast<double>(machine->threads)}}};
    }
    start.release();  // the thread owns it now
    machine->threads++;
  }
  return {};
}

void LeaveKvmVcpus(const std::shared_ptr<KvmMachine>& machine) {
  auto held = std::make_unique<std::shared_ptr<KvmMachine>>(machine);
  if (StartDetached(CloserMain, held.get()) == 0) held.release();
}

void KickKvmVcpus(KvmMachine& machine) {
  machine.changed.notify_all();
  for (uint32_t index = 0; index < machine.threads; index++) {
    KvmVcpu& vcpu = *machine.vcpus[index];
    if (vcpu.parked || vcpu.thread_id == 0) continue;  // it looks at the mode before it runs
    vcpu.run->immediate_exit = 1;
    if (!WaitsForPage(vcpu.thread_id)) tgkill(getpid(), vcpu.thread_id, KickSignal());
  }
}

}  // namespace postcopy

#endif
