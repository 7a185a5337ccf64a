// The hypervisor's log of what a machine writes to its memory.
//
// Any thread. It knows the writes of vCPUs and of the kernel on their behalf; those of this process
// it does not.
#pragma once

#include <napi.h>

namespace postcopy {

Napi::Value KvmLogWrites(const Napi::CallbackInfo& info);
Napi::Value KvmHarvestDirtyPages(const Napi::CallbackInfo& info);

}  // namespace postcopy
