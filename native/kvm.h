// KVM: whether this host has it, and what it offers to every machine.
//
// Any thread. Machines are kvm_machine.h.
#pragma once

#include <napi.h>

#include "error.h"
#include "unique_fd.h"

namespace postcopy {

// Opens /dev/kvm.
Outcome OpenKvm(UniqueFd* kvm);

Napi::Value KvmApiVersion(const Napi::CallbackInfo& info);
Napi::Value KvmMissing(const Napi::CallbackInfo& info);
Napi::Value KvmSupportedCpuid(const Napi::CallbackInfo& info);
Napi::Value KvmMsrIndexes(const Napi::CallbackInfo& info);

}  // namespace postcopy
