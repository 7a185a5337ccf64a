// Calls in the thread pool; see async.h.
#include "async.h"

#include <utility>

namespace postcopy {

namespace {

struct Pending {
  std::unique_ptr<AsyncCall> call;
  Outcome outcome;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
};

void Execute(napi_env, void* data) {
  Pending& pending = *static_cast<Pending*>(data);
  pending.outcome = pending.call->Run();
}

// Statuses are not checked: all of these may fail in an environment that is ending, where nobody is
// left to be told.
void Complete(napi_env env, napi_status, void* data) {
  const std::unique_ptr<Pending> pending(static_cast<Pending*>(data));
  if (pending->outcome) {
    napi_reject_deferred(env, pending->deferred, MakeNativeError(env, *pending->outcome));
  } else if (napi_resolve_deferred(env, pending->deferred, pending->call->Settle(env)) != napi_ok) {
    pending->call->Abandon();
  }
  napi_delete_async_work(env, pending->work);
}

}  // namespace

Napi::Value StartAsync(Napi::Env env, const char* name, std::unique_ptr<AsyncCall> call) {
  auto pending = std::make_unique<Pending>();
  pending->call = std::move(call);
  napi_value promise = nullptr;
  napi_create_promise(env, &pending->deferred, &promise);
  napi_create_async_work(env, nullptr, Napi::String::New(env, name), Execute, Complete,
                         pending.get(), &pending->work);
  napi_queue_async_work(env, pending->work);
  pending.release();  // Complete owns it now
  return {env, promise};
}

}  // namespace postcopy
