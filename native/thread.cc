// The calling thread's clock, name, id and priority.
#include "thread.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>

#include "arguments.h"

namespace postcopy {

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
  return Napi::Boolean::New(info.Env(), done);
}

Napi::Value ThreadId(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), gettid());
}

}  // namespace postcopy
