// The images of kvm_programs.S. Any thread.
#pragma once

#include <napi.h>

namespace postcopy {

Napi::Value KvmProgram(const Napi::CallbackInfo& info);

}  // namespace postcopy
