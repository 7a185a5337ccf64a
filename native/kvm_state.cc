// State of a machine; see kvm_state.h.
#include "kvm_state.h"

#if defined(__x86_64__)

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arguments.h"
#include "kvm_abi.h"
#include "kvm_machine.h"

namespace postcopy {

namespace {

using Bytes = std::vector<uint8_t>;

// The structures of one machine that are there, in the order in which they are set again. Each has
// effects on those that follow: what is in XSAVE depends on XCR0, and the local APIC's timer on an
// MSR.
enum class Kind { kPlain, kXsave, kMsrs, kMpState, kChip, kClock };

struct State {
  const char* name;
  Kind kind;
  bool per_vcpu;
  int capability;      // 0: always there
  bool needs_irqchip;  // there with interrupt chips only
  unsigned long get;
  unsigned long set;
  size_t bytes;   // of a plain one
  uint32_t chip;  // which interrupt chip
};

constexpr State kStates[] = {
    {"sregs", Kind::kPlain, true, 0, false, KVM_GET_SREGS, KVM_SET_SREGS, sizeof(kvm_sregs), 0},
    {"xcrs", Kind::kPlain, true, KVM_CAP_XCRS, false, KVM_GET_XCRS, KVM_SET_XCRS, sizeof(kvm_xcrs),
     0},
    {"xsave", Kind::kXsave, true, KVM_CAP_XSAVE, false, kGetXsave, kSetXsave, 0, 0},
    {"fpu", Kind::kPlain, true, 0, false, KVM_GET_FPU, KVM_SET_FPU, sizeof(kvm_fpu), 0},
    {"lapic", Kind::kPlain, true, 0, true, KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(kvm_lapic_state),
     0},
    {"msrs", Kind::kMsrs, true, 0, false, kGetMsrs, kSetMsrs, 0, 0},
    {"mp-state", Kind::kMpState, true, 0, false, KVM_GET_MP_STATE, KVM_SET_MP_STATE,
     sizeof(kvm_mp_state), 0},
    {"debug-regs", Kind::kPlain, true, KVM_CAP_DEBUGREGS, false, KVM_GET_DEBUGREGS,
     KVM_SET_DEBUGREGS, sizeof(kvm_debugregs), 0},
    {"regs", Kind::kPlain, true, 0, false, KVM_GET_REGS, KVM_SET_REGS, sizeof(kvm_regs), 0},
    {"events", Kind::kPlain, true, 0, false, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS,
     sizeof(kvm_vcpu_events), 0},
    {"pic0", Kind::kChip, false, 0, true, KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, sizeof(kvm_irqchip),
     KVM_IRQCHIP_PIC_MASTER},
    {"pic1", Kind::kChip, false, 0, true, KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, sizeof(kvm_irqchip),
     KVM_IRQCHIP_PIC_SLAVE},
    {"ioapic", Kind::kChip, false, 0, true, KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, sizeof(kvm_irqchip),
     KVM_IRQCHIP_IOAPIC},
    {"pit2", Kind::kPlain, false, 0, true, KVM_GET_PIT2, KVM_SET_PIT2, sizeof(kvm_pit_state2), 0},
    {"clock", Kind::kClock, false, KVM_CAP_ADJUST_CLOCK, false, KVM_GET_CLOCK, KVM_SET_CLOCK,
     sizeof(kvm_clock_data), 0},
};

bool IsThere(const State& state, const KvmMachine& machine) {
  if (state.needs_irqchip && !machine.irqchip) return false;
  // XSAVE holds the FPU too.
  if (state.get == KVM_GET_FPU && machine.xsave_bytes > 0) return false;
  return state.capability == 0 || machine.Extension(state.capability);
}

Outcome Call(int fd, unsigned long request, const State& state, const char* verb, void* argument) {
  if (ioctl(fd, request, argument) >= 0) return {};
  return Failure{
      errno, std::string("ioctl(KVM_") + verb + ")", {{"state", std::string(state.name)}}};
}

// --- MSRs: a `kvm_msr_entry` each, by the host's list ----------------------------------------

// A `kvm_msrs` of one entry.
struct OneMsr {
  uint32_t count = 1;
  uint32_t pad = 0;
  kvm_msr_entry entry{};
};
static_assert(offsetof(OneMsr, entry) == kMsrsHeadBytes && sizeof(OneMsr) == 24);

// Whether the kernel took or gave that one.
bool CallMsr(int vcpu, unsigned long request, OneMsr* msr) {
  return ioctl(vcpu, request, msr) == 1;
}

// `bytes` has the indexes, and gets the values; an MSR that can't be read now is left out.
void GetMsrs(int vcpu, Bytes& bytes) {
  Bytes known;
  for (size_t at = 0; at + sizeof(kvm_msr_entry) <= bytes.size(); at += sizeof(kvm_msr_entry)) {
    OneMsr msr;
    memcpy(&msr.entry, &bytes[at], sizeof(msr.entry));
    if (!CallMsr(vcpu, kGetMsrs, &msr)) continue;
    const auto* entry = reinterpret_cast<const uint8_t*>(&msr.entry);
    known.insert(known.end(), entry, entry + sizeof(msr.entry));
  }
  bytes = std::move(known);
}

// One that the kernel refuses must have that value already, as those have that CPUID hides.
Outcome SetMsrs(int vcpu, std::span<const uint8_t> bytes) {
  for (size_t at = 0; at < bytes.size(); at += sizeof(kvm_msr_entry)) {
    OneMsr wanted;
    memcpy(&wanted.entry, &bytes[at], sizeof(wanted.entry));
    wanted.entry.reserved = 0;
    if (CallMsr(vcpu, kSetMsrs, &wanted)) continue;
    OneMsr here;
    here.entry.index = wanted.entry.index;
    if (CallMsr(vcpu, kGetMsrs, &here) && here.entry.data == wanted.entry.data) continue;
    return Failure{
        EINVAL,
        "ioctl(KVM_SET_MSRS)",
        {{"msr", static_cast<double>(wanted.entry.index)}, {"value", uint64_t{wanted.entry.data}}}};
  }
  return {};
}

// --- one structure ---------------------------------------------------------------------------

// Writes a value over part of the bytes of a state, as far as they are there.
template <class T>
void Put(Bytes& bytes, size_t at, const T& value) {
  if (at + sizeof(T) > bytes.size()) return;
  memcpy(bytes.data() + at, &value, sizeof(T));
}

struct Place {
  KvmMachine& machine;
  KvmVcpu& vcpu;
  int fd;  // whose ioctls its state has
};

size_t SizeOf(const State& state, const KvmMachine& machine) {
  return state.kind == Kind::kXsave ? machine.xsave_bytes : state.bytes;
}

Outcome Get(const State& state, const Place& place, Bytes& bytes) {
  if (state.kind == Kind::kMsrs) {
    GetMsrs(place.fd, bytes);
    return {};
  }
  bytes.assign(SizeOf(state, place.machine), 0);
  unsigned long request = state.get;
  if (state.kind == Kind::kXsave) {
    request = place.machine.Extension(KVM_CAP_XSAVE2) ? kGetXsave2 : kGetXsave;
  }
  if (state.kind == Kind::kChip) Put(bytes, offsetof(kvm_irqchip, chip_id), state.chip);
  if (Outcome failure = Call(place.fd, request, state, "GET", bytes.data())) return failure;
  if (state.kind == Kind::kClock) {
    // Its time alone: the clock stands still while the machine moves, as the TSC does.
    std::fill(bytes.begin() + sizeof(kvm_clock_data::clock), bytes.end(), 0);
  }
  if (state.kind == Kind::kMpState && place.vcpu.halted) {
    Put(bytes, 0, kvm_mp_state{KVM_MP_STATE_HALTED});
  }
  return {};
}

// Without interrupt chips the kernel knows no halted vCPU: ours is then.
Outcome SetMpState(const State& state, const Place& place, kvm_mp_state wanted) {
  const bool halted = !place.machine.irqchip && wanted.mp_state == KVM_MP_STATE_HALTED;
  if (halted) wanted.mp_state = KVM_MP_STATE_RUNNABLE;
  if (Outcome failure = Call(place.fd, state.set, state, "SET", &wanted)) return failure;
  place.vcpu.halted = halted;
  return {};
}

Outcome Set(const State& state, const Place& place, Bytes bytes) {
  switch (state.kind) {
    case Kind::kMsrs:
      return SetMsrs(place.fd, bytes);
    case Kind::kMpState: {
      kvm_mp_state wanted{};
      if (bytes.size() == sizeof(wanted)) memcpy(&wanted, bytes.data(), sizeof(wanted));
      return SetMpState(state, place, wanted);
    }
    case Kind::kChip:
      Put(bytes, offsetof(kvm_irqchip, chip_id), state.chip);  // whatever a peer put there
      break;
    case Kind::kClock:
      Put(bytes, offsetof(kvm_clock_data, flags), uint32_t{0});
      break;
    default:
      break;
  }
  return Call(place.fd, state.set, state, "SET", bytes.data());
}

// --- arguments -------------------------------------------------------------------------------

const State* Find(const std::string& name, const KvmMachine& machine) {
  const auto* found = std::ranges::find_if(
      kStates, [&](const State& state) { return name == state.name && IsThere(state, machine); });
  return found == std::end(kStates) ? nullptr : found;
}

// The next two arguments: a machine and the number of one of its vCPUs.
std::shared_ptr<KvmMachine> TakeVcpu(Arguments& arguments, KvmVcpu** vcpu) {
  auto machine = arguments.Handle<KvmMachine>("machine");
  const uint64_t count = arguments.failed() ? 1 : machine->vcpus.size();
  const uint64_t index = arguments.Integer("vcpu", 0, count - 1);
  if (!arguments.failed()) *vcpu = machine->vcpus[index].get();
  return machine;
}

bool IsStopped(const KvmMachine& machine) {
  return machine.mode == KvmMode::kStopped && machine.AllParked();
}

kvm_segment FlatSegment(uint16_t selector, uint8_t type) {
  kvm_segment segment{};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.db = 1;
  segment.s = 1;
  segment.g = 1;
  return segment;
}

}  // namespace

Napi::Value KvmStateNames(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto machine = arguments.Handle<KvmMachine>("machine");
  if (arguments.failed()) return {};
  Napi::Array of_vcpu = Napi::Array::New(info.Env());
  Napi::Array of_machine = Napi::Array::New(info.Env());
  for (const State& state : kStates) {
    if (!IsThere(state, *machine)) continue;
    Napi::Array& names = state.per_vcpu ? of_vcpu : of_machine;
    names.Set(names.Length(), Napi::String::New(info.Env(), state.name));
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("vcpu", of_vcpu);
  result.Set("machine", of_machine);
  return result;
}

Napi::Value KvmGetState(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  KvmVcpu* vcpu = nullptr;
  const auto machine = TakeVcpu(arguments, &vcpu);
  const std::string name = arguments.String("name");
  const auto indexes = arguments.Array<uint32_t>("msrs");
  if (arguments.failed()) return {};
  const State* state = Find(name, *machine);
  arguments.Require(state != nullptr, "name", "be one of kvmStateNames");
  if (arguments.failed()) return {};
  Bytes bytes;
  if (state->kind == Kind::kMsrs) {
    bytes.resize(indexes.size() * sizeof(kvm_msr_entry));
    for (size_t i = 0; i < indexes.size(); i++) {
      memcpy(&bytes[i * sizeof(kvm_msr_entry)], &indexes[i], sizeof(uint32_t));
    }
  }
  const std::lock_guard lock(machine->mutex);
  if (!IsStopped(*machine)) return Throw(info.Env(), {EBUSY, "kvmGetState", {}});
  const Place place{*machine, *vcpu, state->per_vcpu ? vcpu->fd.get() : machine->vm.get()};
  if (const Outcome failure = Get(*state, place, bytes)) return Throw(info.Env(), *failure);
  Napi::Uint8Array result = Napi::Uint8Array::New(info.Env(), bytes.size());
  std::ranges::copy(bytes, result.Data());
  return result;
}

Napi::Value KvmSetState(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  KvmVcpu* vcpu = nullptr;
  const auto machine = TakeVcpu(arguments, &vcpu);
  const std::string name = arguments.String("name");
  const auto bytes = arguments.Array<uint8_t>("bytes");
  if (arguments.failed()) return {};
  const State* state = Find(name, *machine);
  arguments.Require(state != nullptr, "name", "be one of kvmStateNames");
  if (arguments.failed()) return {};
  const bool fits = state->kind == Kind::kMsrs ? bytes.size() % sizeof(kvm_msr_entry) == 0
                                               : bytes.size() == SizeOf(*state, *machine);
  arguments.Require(fits, "bytes", "have exactly the size of that state");
  if (arguments.failed()) return {};
  const std::lock_guard lock(machine->mutex);
  if (!IsStopped(*machine)) return Throw(info.Env(), {EBUSY, "kvmSetState", {}});
  const Place place{*machine, *vcpu, state->per_vcpu ? vcpu->fd.get() : machine->vm.get()};
  const Outcome failure = Set(*state, place, Bytes(bytes.begin(), bytes.end()));
  return failure ? Throw(info.Env(), *failure) : info.Env().Undefined();
}

Napi::Value KvmSetCpuid(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  KvmVcpu* vcpu = nullptr;
  const auto machine = TakeVcpu(arguments, &vcpu);
  const auto entries = arguments.Array<uint8_t>("entries");
  arguments.Require(entries.size() % sizeof(kvm_cpuid_entry2) == 0, "entries", "be whole entries");
  if (arguments.failed()) return {};
  Bytes list(kCpuidHeadBytes + entries.size());
  const auto count = static_cast<uint32_t>(entries.size() / sizeof(kvm_cpuid_entry2));
  Put(list, 0, count);
  std::ranges::copy(entries, list.begin() + kCpuidHeadBytes);
  const std::lock_guard lock(machine->mutex);
  if (!IsStopped(*machine)) return Throw(info.Env(), {EBUSY, "kvmSetCpuid", {}});
  if (ioctl(vcpu->fd.get(), kSetCpuid, list.data()) < 0) {
    return Throw(info.Env(), {errno, "ioctl(KVM_SET_CPUID2)", {}});
  }
  return info.Env().Undefined();
}

Napi::Value KvmEnterFlat(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  KvmVcpu* vcpu = nullptr;
  const auto machine = TakeVcpu(arguments, &vcpu);
  const Napi::Object registers = arguments.Dictionary("registers");
  const auto take = [&](const char* name) {
    return arguments.IntegerProperty(registers, name, 0, UINT32_MAX);
  };
  kvm_regs regs{};
  regs.rip = take("eip");
  regs.rsp = take("esp");
  regs.rbp = take("ebp");
  regs.rax = take("eax");
  regs.rcx = take("ecx");
  if (arguments.failed()) return {};
  regs.rflags = 2;  // the bit that is always set
  const std::lock_guard lock(machine->mutex);
  if (!IsStopped(*machine)) return Throw(info.Env(), {EBUSY, "kvmEnterFlat", {}});
  kvm_sregs sregs{};
  if (ioctl(vcpu->fd.get(), KVM_GET_SREGS, &sregs) < 0) {
    return Throw(info.Env(), {errno, "ioctl(KVM_GET_SREGS)", {}});
  }
  constexpr uint8_t kCode = 0xb;  // execute, read, accessed
  constexpr uint8_t kData = 0x3;  // read, write, accessed
  sregs.cs = FlatSegment(0x8, kCode);
  for (kvm_segment* segment : {&sregs.ds, &sregs.es, &sregs.fs, &sregs.gs, &sregs.ss}) {
    *segment = FlatSegment(0x10, kData);
  }
  sregs.cr0 |= 1;  // protection on, paging off
  kvm_mp_state runnable{KVM_MP_STATE_RUNNABLE};
  const std::tuple<unsigned long, const char*, void*> calls[] = {
      {KVM_SET_SREGS, "ioctl(KVM_SET_SREGS)", &sregs},
      {KVM_SET_REGS, "ioctl(KVM_SET_REGS)", &regs},
      {KVM_SET_MP_STATE, "ioctl(KVM_SET_MP_STATE)", &runnable}};
  for (const auto& [request, name, argument] : calls) {
    if (ioctl(vcpu->fd.get(), request, argument) < 0) return Throw(info.Env(), {errno, name, {}});
  }
  vcpu->halted = false;
  return info.Env().Undefined();
}

Napi::Value KvmTscKhz(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  KvmVcpu* vcpu = nullptr;
  const auto machine = TakeVcpu(arguments, &vcpu);
  if (arguments.failed()) return {};
  const int khz = ioctl(vcpu->fd.get(), KVM_GET_TSC_KHZ, 0);
  if (khz < 0) return Throw(info.Env(), {errno, "ioctl(KVM_GET_TSC_KHZ)", {}});
  return Napi::Number::New(info.Env(), khz);
}

Napi::Value KvmSetTscKhz(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  KvmVcpu* vcpu = nullptr;
  const auto machine = TakeVcpu(arguments, &vcpu);
  const uint64_t khz = arguments.Integer("khz", 1, INT32_MAX);
  if (arguments.failed()) return {};
  if (ioctl(vcpu->fd.get(), KVM_SET_TSC_KHZ, khz) < 0) {
    return Throw(info.Env(),
                 {errno, "ioctl(KVM_SET_TSC_KHZ)", {{"khz", static_cast<double>(khz)}}});
  }
  return info.Env().Undefined();
}

}  // namespace postcopy

#endif
