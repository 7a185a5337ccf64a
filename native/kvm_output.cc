// Output of a machine's ports; see kvm_output.h.
#include "kvm_output.h"

#include <utility>

namespace postcopy {

std::shared_ptr<Bell> Bell::Make(const Napi::Function& callback) {
  const napi_env env = callback.Env();
  auto bell = std::make_shared<Bell>();
  auto* held = new std::shared_ptr<Bell>(bell);
  const Napi::String name = Napi::String::New(callback.Env(), "postcopy:kvm");
  if (napi_create_threadsafe_function(env, callback, nullptr, name, 0, 1, held, Ended, nullptr,
                                      nullptr, &bell->function_) != napi_ok) {
    delete held;
    return nullptr;
  }
  napi_unref_threadsafe_function(env, bell->function_);
  return bell;
}

void Bell::Ended(napi_env /*env*/, void* data, void* /*hint*/) {
  const std::unique_ptr<std::shared_ptr<Bell>> held(static_cast<std::shared_ptr<Bell>*>(data));
  const std::lock_guard lock((*held)->mutex_);
  (*held)->function_ = nullptr;
}

void Bell::Ring() {
  const std::lock_guard lock(mutex_);
  if (function_ == nullptr) return;
  if (napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking) == napi_closing) {
    function_ = nullptr;
  }
}

void Bell::Close() {
  const std::lock_guard lock(mutex_);
  if (function_ == nullptr) return;
  napi_release_threadsafe_function(std::exchange(function_, nullptr), napi_tsfn_abort);
}

void Output::Add(uint32_t vcpu, uint16_t port, char byte) {
  if (chunks_.empty() || chunks_.back().vcpu != vcpu || chunks_.back().port != port) {
    chunks_.push_back({vcpu, port, {}});
  }
  chunks_.back().bytes.push_back(byte);
  bytes_++;
}

std::vector<OutputChunk> Output::Take() {
  bytes_ = 0;
  return std::exchange(chunks_, {});
}

}  // namespace postcopy
