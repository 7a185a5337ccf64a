// KVM: whether this host has it.
#pragma once

#include <napi.h>

namespace postcopy {

Napi::Value KvmApiVersion(const Napi::CallbackInfo& info);

}  // namespace postcopy
