// KVM machines; see kvm_machine.h.
#include "kvm_machine.h"

#if defined(__x86_64__)

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "arguments.h"
#include "kvm.h"
#include "kvm_abi.h"
#include "kvm_vcpu.h"
#include "thread.h"

namespace postcopy {

namespace {

constexpr uint32_t kMaxBlocks = 64;
constexpr uint32_t kMaxThrottlePercent = 99;
constexpr auto kCloseWait = std::chrono::milliseconds(200);
// Pages that some processors need below 4 GiB to run a guest without paging: one for the identity
// map, three above it for the task state. RAM and the interrupt chips end below them.
constexpr uint64_t kIdentityMap = 0xfffbc000;
constexpr uint64_t kTaskState = 0xfffbd000;
// Where RAM has to end: the interrupt chips are mapped above.
constexpr uint64_t kRamLimit = 0xc0000000;

Outcome Call(int fd, unsigned long request, const char* name, const void* argument) {
  if (ioctl(fd, request, argument) >= 0) return {};
  return Failure{errno, std::string("ioctl(") + name + ")", {}};
}

// An ioctl whose argument is a number.
int CallNumber(int fd, unsigned long request, unsigned long argument) {
  return ioctl(fd, request, argument);
}

Outcome CreateVm(KvmMachine& machine) {
  if (Outcome failure = OpenKvm(&machine.kvm)) return failure;
  machine.vm = UniqueFd(CallNumber(machine.kvm.get(), KVM_CREATE_VM, 0));
  if (!machine.vm) return Failure{errno, "ioctl(KVM_CREATE_VM)", {}};
  if (CallNumber(machine.vm.get(), KVM_SET_TSS_ADDR, kTaskState) < 0) {
    return Failure{errno, "ioctl(KVM_SET_TSS_ADDR)", {}};
  }
  const int vm = machine.vm.get();
  if (Outcome failure =
          Call(vm, KVM_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR", &kIdentityMap)) {
    return failure;
  }
  if (!machine.irqchip) return {};
  if (CallNumber(vm, KVM_CREATE_IRQCHIP, 0) < 0) {
    return Failure{errno, "ioctl(KVM_CREATE_IRQCHIP)", {}};
  }
  const kvm_pit_config timer{};
  return Call(vm, KVM_CREATE_PIT2, "KVM_CREATE_PIT2", &timer);
}

Outcome CreateVcpus(KvmMachine& machine, uint32_t count) {
  const int run_bytes = CallNumber(machine.kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_bytes < 0) return Failure{errno, "ioctl(KVM_GET_VCPU_MMAP_SIZE)", {}};
  for (uint32_t index = 0; index < count; index++) {
    auto vcpu = std::make_unique<KvmVcpu>();
    vcpu->fd = UniqueFd(CallNumber(machine.vm.get(), KVM_CREATE_VCPU, index));
    if (!vcpu->fd) {
      return Failure{errno, "ioctl(KVM_CREATE_VCPU)", {{"vcpu", static_cast<double>(index)}}};
    }
    if (Outcome failure = vcpu->run.Map(vcpu->fd.get(), static_cast<size_t>(run_bytes))) {
      return failure;
    }
    machine.vcpus.push_back(std::move(vcpu));
  }
  return {};
}

Failure Busy(const char* call) { return {EBUSY, call, {}}; }

}  // namespace

KvmRunPage::~KvmRunPage() {
  if (run_ != nullptr) munmap(run_, size_);
}

Outcome KvmRunPage::Map(int vcpu, size_t size) {
  void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (mapped == MAP_FAILED) return Failure{errno, "mmap", {{"length", static_cast<double>(size)}}};
  run_ = static_cast<kvm_run*>(mapped);
  size_ = size;
  return {};
}

bool KvmMachine::AllParked() const {
  return std::all_of(vcpus.begin(), vcpus.begin() + threads,
                     [](const auto& vcpu) { return vcpu->parked; });
}

bool KvmMachine::Extension(int number) const {
  return ioctl(vm.get(), KVM_CHECK_EXTENSION, number) > 0;
}

Outcome KvmMachine::MapSlots() {
  for (uint32_t slot = 0; slot < ram.size(); slot++) {
    const kvm_userspace_memory_region region{
        .slot = slot,
        .flags = logs_writes ? uint32_t{KVM_MEM_LOG_DIRTY_PAGES} : 0,
        .guest_phys_addr = addresses[slot],
        .memory_size = ram[slot]->size,
        .userspace_addr = ram[slot]->AddressOf(0),
    };
    if (Outcome failure =
            Call(vm.get(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region)) {
      failure->arguments = {{"slot", static_cast<double>(slot)}};
      return failure;
    }
  }
  return {};
}

Napi::Value KvmMachineCreate(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  auto machine = std::make_shared<KvmMachine>();
  machine->ram = arguments.Handles<RamBlock>("blocks", 1, kMaxBlocks);
  const auto vcpus = static_cast<uint32_t>(arguments.Integer("vcpus", 1, kMaxKvmVcpus));
  machine->irqchip = arguments.Integer("irqchip", 0, 1) == 1;
  const auto callback = arguments.Callback("onEvent");
  if (arguments.failed()) return {};
  uint64_t end = 0;
  for (const auto& block : machine->ram) {
    machine->addresses.push_back(end);
    end += std::min(block->size, kRamLimit + 1);
  }
  arguments.Require(end <= kRamLimit, "blocks", "have 3 GiB at most");
  if (arguments.failed()) return {};
  if (const Outcome failure = CreateVm(*machine)) return Throw(info.Env(), *failure);
  if (const Outcome failure = machine->MapSlots()) return Throw(info.Env(), *failure);
  if (const Outcome failure = CreateVcpus(*machine, vcpus)) return Throw(info.Env(), *failure);
  const int xsave = ioctl(machine->vm.get(), KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
  if (machine->Extension(KVM_CAP_XSAVE)) {
    machine->xsave_bytes = xsave > 0 ? static_cast<size_t>(xsave) : kXsaveHeadBytes;
  }
  machine->bell = Bell::Make(callback);
  if (machine->bell == nullptr) {
    return Throw(info.Env(), {ENOMEM, "napi_create_threadsafe_function", {}});
  }
  return Napi::Number::New(info.Env(), static_cast<double>(InsertHandle(std::move(machine))));
}

Napi::Value KvmMachineStart(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto machine = arguments.Handle<KvmMachine>("machine");
  if (arguments.failed()) return {};
  const std::lock_guard lock(machine->mutex);
  if (machine->mode == KvmMode::kRunning) return info.Env().Undefined();
  if (machine->mode != KvmMode::kStopped || !machine->AllParked() || machine->death) {
    return Throw(info.Env(), Busy("kvmMachineStart"));
  }
  if (const Outcome failure = MakeKvmThreads(machine)) return Throw(info.Env(), *failure);
  machine->started_us = MonotonicMicros();
  machine->mode = KvmMode::kRunning;
  machine->changed.notify_all();
  return info.Env().Undefined();
}

Napi::Value KvmMachineStop(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto machine = arguments.Handle<KvmMachine>("machine");
  const auto wait_ms = arguments.Integer("waitMs", 0, INT32_MAX);
  if (arguments.failed()) return {};
  std::unique_lock lock(machine->mutex);
  if (machine->mode == KvmMode::kRunning) {
    machine->mode = KvmMode::kStopped;
    // Those that are parked already, halted ones, note no time.
    if (machine->AllParked()) machine->stopped_us = MonotonicMicros();
  }
  if (machine->mode == KvmMode::kStopped) KickKvmVcpus(*machine);
  const bool stopped = machine->changed.wait_for(lock, std::chrono::milliseconds(wait_ms),
                                                 [&] { return machine->AllParked(); });
  return Napi::Boolean::New(info.Env(), stopped);
}

Napi::Value KvmMachineThrottle(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto machine = arguments.Handle<KvmMachine>("machine");
  const auto percent = static_cast<uint32_t>(arguments.Integer("percent", 0, kMaxThrottlePercent));
  if (arguments.failed()) return {};
  const std::lock_guard lock(machine->mutex);
  machine->throttle_percent = percent;
  KickKvmVcpus(*machine);
  return info.Env().Undefined();
}

Napi::Value KvmMachineThreads(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto machine = arguments.Handle<KvmMachine>("machine");
  if (arguments.failed()) return {};
  std::unique_lock lock(machine->mutex);
  const auto end = machine->vcpus.begin() + machine->threads;
  // A thread says its id first of all, before it touches RAM: this can't take long.
  machine->changed.wait(lock, [&] {
    return std::all_of(machine->vcpus.begin(), end,
                       [](const auto& vcpu) { return vcpu->thread_id != 0; });
  });
  Napi::Array threads = Napi::Array::New(info.Env(), machine->threads);
  for (uint32_t index = 0; index < machine->threads; index++) {
    threads.Set(index, static_cast<double>(machine->vcpus[index]->thread_id));
  }
  return threads;
}

Napi::Value KvmMachineStatus(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto machine = arguments.Handle<KvmMachine>("machine");
  if (arguments.failed()) return {};
  const std::lock_guard lock(machine->mutex);
  Napi::Object status = Napi::Object::New(info.Env());
  status.Set("startedUs", machine->started_us);
  status.Set("stoppedUs", machine->stopped_us);
  const auto halted =
      std::ranges::count_if(machine->vcpus, [](const auto& vcpu) { return vcpu->halted; });
  status.Set("halted", static_cast<double>(halted));
  if (!machine->death) return status;
  Napi::Object death = Napi::Object::New(info.Env());
  death.Set("vcpu", machine->death->vcpu);
  death.Set("reason", machine->death->reason);
  death.Set("instruction", static_cast<double>(machine->death->instruction));
  status.Set("death", death);
  return status;
}

Napi::Value KvmMachineTakeOutput(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto machine = arguments.Handle<KvmMachine>("machine");
  if (arguments.failed()) return {};
  std::vector<OutputChunk> taken;
  {
    const std::lock_guard lock(machine->mutex);
    taken = machine->output.Take();
    machine->changed.notify_all();  // who waits for room
  }
  Napi::Array chunks = Napi::Array::New(info.Env(), taken.size());
  for (uint32_t index = 0; index < taken.size(); index++) {
    const OutputChunk& chunk = taken[index];
    Napi::Uint8Array bytes = Napi::Uint8Array::New(info.Env(), chunk.bytes.size());
    std::ranges::copy(chunk.bytes, bytes.Data());
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("vcpu", chunk.vcpu);
    object.Set("port", chunk.port);
    object.Set("bytes", bytes);
    chunks.Set(index, object);
  }
  return chunks;
}

Napi::Value KvmMachineClose(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto machine = arguments.Handle<KvmMachine>("machine");
  if (arguments.failed()) return {};
  RemoveHandle(arguments.last_handle());
  machine->bell->Close();
  std::unique_lock lock(machine->mutex);
  machine->mode = KvmMode::kClosed;
  KickKvmVcpus(*machine);
  machine->changed.wait_for(lock, kCloseWait, [&] { return machine->ended == machine->threads; });
  if (machine->ended < machine->threads) LeaveKvmVcpus(machine);
  return Napi::Number::New(info.Env(), machine->threads - machine->ended);
}

}  // namespace postcopy

#endif
