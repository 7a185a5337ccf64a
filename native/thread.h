// The calling thread's clock, name, id and priority.
#pragma once

#include <napi.h>
#include <time.h>

#include <cstdint>

namespace postcopy {

// CLOCK_MONOTONIC in nanoseconds: the same clock in every process of the host.
inline int64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

inline double MonotonicMicros() { return static_cast<double>(MonotonicNs()) / 1000; }

// Names the calling thread; Linux keeps 15 bytes.
void NameThisThread(const char* name);

Napi::Value MonotonicUs(const Napi::CallbackInfo& info);
Napi::Value SetThreadName(const Napi::CallbackInfo& info);
Napi::Value RaiseThread(const Napi::CallbackInfo& info);
Napi::Value ThreadId(const Napi::CallbackInfo& info);

}  // namespace postcopy
