// The kick: an eventfd that ends every blocking call it is given to, until it is drained.
//
// Any thread. `signalled` mirrors the counter, so that a blocking call with work at hand asks for
// the kick without a system call; the mutex keeps the two in step.
#pragma once

#include <napi.h>

#include <atomic>
#include <mutex>

#include "unique_fd.h"

namespace postcopy {

struct Eventfd {
  UniqueFd fd;
  std::mutex mutex;
  std::atomic<bool> signalled = false;
};

enum class Wake { kReady, kKicked, kTimedOut, kFailed };

// Waits until `fd` has one of `events`, the kick is signalled, or the time is over (-1: never). The
// kick wins. kFailed leaves errno.
Wake WaitFor(int fd, short events, const Eventfd& kick, int timeout_ms = -1);

Napi::Value EventfdCreate(const Napi::CallbackInfo& info);
Napi::Value EventfdSignal(const Napi::CallbackInfo& info);
Napi::Value EventfdDrain(const Napi::CallbackInfo& info);
Napi::Value EventfdClose(const Napi::CallbackInfo& info);

}  // namespace postcopy
