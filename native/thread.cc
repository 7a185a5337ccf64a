// The calling thread's clock, name, id and priority.
#include "thread.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

#include "arguments.h"

namespace postcopy {

namespace {

// The kernel's struct sched_attr in its first size: its header and the C library's don't go
// together.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

// The shortest time slice that the kernel takes (from Linux 6.12 on; others ignore it).
constexpr uint64_t kShortSliceNs = 100'000;

// With short slices this thread runs as soon as it wakes: one with a longer slice makes way for one
// with a shorter, and else for nobody before its own is over, however nice it is. 0 is as others.
void TakeSlices(uint64_t slice_ns) {
  SchedulingAttributes attributes;
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0) return;
  if (attributes.policy != SCHED_OTHER) return;
  attributes.runtime_ns = slice_ns;
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace

void NameThisThread(const char* name) { pthread_setname_np(pthread_self(), name); }

Napi::Value MonotonicUs(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), MonotonicMicros());
}

Napi::Value SetThreadName(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  std::string name = arguments.String("name");
  if (arguments.failed()) return {};
  name.resize(std::min<size_t>(name.size(), 15));
  NameThisThread(name.c_str());
  return info.Env().Undefined();
}

Napi::Value RaiseThread(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto steps = static_cast<int>(arguments.Integer("steps", 0, 20));
  if (arguments.failed()) return {};
  const bool done = setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), -steps) == 0;
  TakeSlices(steps > 0 ? kShortSliceNs : 0);
  return Napi::Boolean::New(info.Env(), done);
}

Napi::Value ThreadId(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), gettid());
}

}  // namespace postcopy
