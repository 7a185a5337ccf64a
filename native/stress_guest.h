// The stress guest: native threads that rewrite RAM blocks as vCPUs would and check what they find.
// See docs/stress-guest.md.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>

namespace postcopy {

struct StressMachine;

// What a handle stands for. Loading a device state makes a new machine.
struct StressGuest {
  std::mutex mutex;
  std::shared_ptr<StressMachine> machine;
};

Napi::Value StressGuestCreate(const Napi::CallbackInfo& info);
Napi::Value StressGuestFill(const Napi::CallbackInfo& info);
Napi::Value StressGuestStart(const Napi::CallbackInfo& info);
Napi::Value StressGuestStop(const Napi::CallbackInfo& info);
Napi::Value StressGuestThrottle(const Napi::CallbackInfo& info);
Napi::Value StressGuestThreads(const Napi::CallbackInfo& info);
Napi::Value StressGuestSave(const Napi::CallbackInfo& info);
Napi::Value StressGuestLoad(const Napi::CallbackInfo& info);
Napi::Value StressGuestVerify(const Napi::CallbackInfo& info);
Napi::Value StressGuestStats(const Napi::CallbackInfo& info);
Napi::Value StressGuestClose(const Napi::CallbackInfo& info);

}  // namespace postcopy
