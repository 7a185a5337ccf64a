// The images of kvm_guest_code.S. Any thread.
#pragma once

#include <napi.h>

namespace postcopy {

Napi::Value KvmProgram(const Napi::CallbackInfo& info);

}  // namespace postcopy
