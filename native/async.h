// A call that runs in libuv's thread pool and settles a promise.
//
// `Run` belongs to a pool thread and must not touch Node-API; `Settle` and `Abandon` belong to the
// thread of the environment. An environment that is ending waits for `Run`, then can't be told.
#pragma once

#include <napi.h>

#include <memory>

#include "error.h"

namespace postcopy {

class AsyncCall {
 public:
  virtual ~AsyncCall() = default;
  virtual Outcome Run() = 0;
  // The value the promise is fulfilled with, after a `Run` that did not fail.
  virtual napi_value Settle(napi_env env) = 0;
  // Takes back what `Settle` made, when the environment could not be told.
  virtual void Abandon() {}
};

// Queues the call; returns its promise.
Napi::Value StartAsync(Napi::Env env, const char* name, std::unique_ptr<AsyncCall> call);

}  // namespace postcopy
