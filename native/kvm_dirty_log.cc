// KVM's log of writes; see kvm_dirty_log.h.
#include "kvm_dirty_log.h"

#if defined(__x86_64__)

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <vector>

#include "arguments.h"
#include "kvm_machine.h"

namespace postcopy {

namespace {

constexpr uint64_t kLoggedPageBytes = 4096;

}  // namespace

Napi::Value KvmLogWrites(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto machine = arguments.Handle<KvmMachine>("machine");
  const bool on = arguments.Integer("on", 0, 1) == 1;
  if (arguments.failed()) return {};
  const std::lock_guard lock(machine->mutex);
  if (on && machine->logs_writes) return Throw(info.Env(), {EBUSY, "kvmLogWrites", {}});
  machine->logs_writes = on;
  const Outcome failure = machine->MapSlots();
  return failure ? Throw(info.Env(), *failure) : info.Env().Undefined();
}

Napi::Value KvmHarvestDirtyPages(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto machine = arguments.Handle<KvmMachine>("machine");
  const uint64_t slots = arguments.failed() ? 1 : machine->ram.size();
  const auto slot = static_cast<uint32_t>(arguments.Integer("block", 0, slots - 1));
  const auto bitmap = arguments.Array<uint32_t>("bitmap");
  if (arguments.failed()) return {};
  const uint64_t pages = machine->ram[slot]->size / kLoggedPageBytes;
  arguments.Require(pages <= bitmap.size() * 32, "bitmap", "hold a bit for every page");
  if (arguments.failed()) return {};
  // The kernel writes whole words of 64 bits, with nothing set beyond the last page.
  std::vector<uint64_t> logged((pages + 63) / 64);
  kvm_dirty_log log{};
  log.slot = slot;
  log.dirty_bitmap = logged.data();
  if (ioctl(machine->vm.get(), KVM_GET_DIRTY_LOG, &log) < 0) {
    return Throw(info.Env(),
                 {errno, "ioctl(KVM_GET_DIRTY_LOG)", {{"slot", static_cast<double>(slot)}}});
  }
  uint64_t found = 0;
  for (size_t i = 0; i < logged.size(); i++) {
    if (logged[i] == 0) continue;
    found += static_cast<uint64_t>(std::popcount(logged[i]));
    for (size_t half = 0; half < 2; half++) {
      const auto bits = static_cast<uint32_t>(logged[i] >> (32 * half));
      if (bits != 0) std::atomic_ref(bitmap[2 * i + half]).fetch_or(bits);
    }
  }
  return Napi::Number::New(info.Env(), static_cast<double>(found));
}

}  // namespace postcopy

#endif
