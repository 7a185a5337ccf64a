// A userfaultfd: registration, the ioctls that resolve faults, and its events.
//
// Any thread, several at once: the kernel serialises. The descriptor closes with the last call that
// uses it; closing wakes every waiter, whose missing page then reads as zeroes.
#pragma once

#include <napi.h>

#include <cstdint>

#include "unique_fd.h"

namespace postcopy {

struct Userfaultfd {
  UniqueFd fd;
};

// Takes a range from its watch, as far as it is registered; whoever waits there goes on.
void UnregisterFrom(const Userfaultfd& uffd, uint64_t address, uint64_t length);

Napi::Value UserfaultfdOpen(const Napi::CallbackInfo& info);
Napi::Value UserfaultfdClose(const Napi::CallbackInfo& info);
Napi::Value UserfaultfdRegister(const Napi::CallbackInfo& info);
Napi::Value UserfaultfdUnregister(const Napi::CallbackInfo& info);
Napi::Value PlacePages(const Napi::CallbackInfo& info);
Napi::Value PlaceZeroPages(const Napi::CallbackInfo& info);
Napi::Value UserfaultfdContinue(const Napi::CallbackInfo& info);
Napi::Value UserfaultfdMove(const Napi::CallbackInfo& info);
Napi::Value UserfaultfdWriteProtect(const Napi::CallbackInfo& info);
Napi::Value UserfaultfdPoison(const Napi::CallbackInfo& info);
Napi::Value UserfaultfdWake(const Napi::CallbackInfo& info);
Napi::Value AwaitEvents(const Napi::CallbackInfo& info);
Napi::Value ReadEvents(const Napi::CallbackInfo& info);

}  // namespace postcopy
