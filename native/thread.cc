// The calling thread's clock, name and id.
#include "thread.h"

#include <pthread.h>
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

Napi::Value ThreadId(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), gettid());
}

}  // namespace postcopy
