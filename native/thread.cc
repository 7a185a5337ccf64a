// The calling thread's clock, name, id and time slice.
#include "thread.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "arguments.h"

namespace postcopy {

void NameThisThread(const char* name) { pthread_setname_np(pthread_self(), name); }

namespace {

// As sched_setattr(2) takes it; C libraries have come to declare it only lately.
struct SchedAttributes {
  uint32_t size = sizeof(SchedAttributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;  // nanoseconds: of an ordinary thread its slice
  uint64_t deadline = 0;
  uint64_t period = 0;
};

}  // namespace

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

Napi::Value SetThreadSlice(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const uint64_t slice_us = arguments.Integer("sliceUs", 1, 1'000'000);
  if (arguments.failed()) return {};
  SchedAttributes attributes;
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) < 0) {
    return Napi::Boolean::New(info.Env(), false);
  }
  attributes.flags = 0;
  attributes.runtime = slice_us * 1000;
  const bool taken = syscall(SYS_sched_setattr, 0, &attributes, 0) == 0;
  return Napi::Boolean::New(info.Env(), taken);
}

Napi::Value ThreadId(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), gettid());
}

}  // namespace postcopy
