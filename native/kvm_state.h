// The state of a stopped machine, one kernel structure at a time, by name and as its exact bytes.
//
// Any thread, while all vCPUs are parked. What the bytes mean is not known here: the kernel takes
// or refuses them.
#pragma once

#include <napi.h>

namespace postcopy {

Napi::Value KvmStateNames(const Napi::CallbackInfo& info);
Napi::Value KvmGetState(const Napi::CallbackInfo& info);
Napi::Value KvmSetState(const Napi::CallbackInfo& info);
Napi::Value KvmSetCpuid(const Napi::CallbackInfo& info);
Napi::Value KvmEnterFlat(const Napi::CallbackInfo& info);
Napi::Value KvmTscKhz(const Napi::CallbackInfo& info);
Napi::Value KvmSetTscKhz(const Napi::CallbackInfo& info);

}  // namespace postcopy
