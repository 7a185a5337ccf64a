// A KVM virtual machine over RAM blocks: memory slots, vCPUs, and in-kernel interrupt chips if
// asked for. Its devices are two output ports (kvm_output.h); all else is the guest programme's.
//
// The machine is used by the threads of JavaScript and by its vCPU threads (kvm_vcpu.h).
// Invariants:
//  1. Closing never takes memory from under a vCPU: each vCPU thread holds the machine, which holds
//     its RAM blocks. One that waits for a page at the end is left, and keeps both.
//  2. A parked vCPU is outside KVM_RUN, with every exit completed: its state may be got and set.
//  3. A machine of which a vCPU died runs no more.
#pragma once

#include <linux/kvm.h>
#include <napi.h>
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "error.h"
#include "kvm_output.h"
#include "ram_block.h"
#include "unique_fd.h"

namespace postcopy {

inline constexpr uint32_t kMaxKvmVcpus = 16;

// The page that a vCPU shares with the kernel, mapped while the object lives.
class KvmRunPage {
 public:
  KvmRunPage() = default;
  KvmRunPage(const KvmRunPage&) = delete;
  KvmRunPage& operator=(const KvmRunPage&) = delete;
  ~KvmRunPage();

  Outcome Map(int vcpu, size_t size);
  kvm_run* get() const { return run_; }
  kvm_run* operator->() const { return run_; }

 private:
  kvm_run* run_ = nullptr;
  size_t size_ = 0;
};

struct KvmVcpu {
  UniqueFd fd;
  KvmRunPage run;
  std::atomic<pid_t> thread_id = 0;  // its kernel thread id, once it has begun

  // Guarded by the machine's mutex.
  bool parked = false;
  // It executed HLT, and there is no interrupt chip that could wake it.
  bool halted = false;
};

enum class KvmMode { kStopped, kRunning, kClosed };

// Why a vCPU can't go on.
struct KvmDeath {
  uint32_t vcpu;
  std::string reason;
  uint64_t instruction;  // its address in the guest
};

struct KvmMachine {
  // In this order: the kernel's machine goes before the memory under it.
  std::vector<std::shared_ptr<RamBlock>> ram;
  std::vector<uint64_t> addresses;  // of each block in the guest
  UniqueFd kvm;
  UniqueFd vm;
  bool irqchip = false;
  size_t xsave_bytes = 0;  // 0 where the kernel has no XSAVE
  std::vector<std::unique_ptr<KvmVcpu>> vcpus;
  std::shared_ptr<Bell> bell;

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  KvmMode mode = KvmMode::kStopped;
  bool logs_writes = false;
  uint32_t throttle_percent = 0;
  uint32_t threads = 0;  // made
  uint32_t ended = 0;
  Output output;
  std::optional<KvmDeath> death;
  double started_us = 0;
  double stopped_us = 0;

  bool AllParked() const;
  // Whether that vCPU has something to do.
  bool MayRun(const KvmVcpu& vcpu) const {
    return mode == KvmMode::kRunning && !death && !vcpu.halted;
  }
  bool Extension(int number) const;
  // Maps every block, with the log of writes on or off.
  Outcome MapSlots();
};

Napi::Value KvmMachineCreate(const Napi::CallbackInfo& info);
Napi::Value KvmMachineStart(const Napi::CallbackInfo& info);
Napi::Value KvmMachineStop(const Napi::CallbackInfo& info);
Napi::Value KvmMachineThrottle(const Napi::CallbackInfo& info);
Napi::Value KvmMachineThreads(const Napi::CallbackInfo& info);
Napi::Value KvmMachineStatus(const Napi::CallbackInfo& info);
Napi::Value KvmMachineTakeOutput(const Napi::CallbackInfo& info);
Napi::Value KvmMachineClose(const Napi::CallbackInfo& info);

}  // namespace postcopy
