// What KVM machines are on other processors than x86-64: not there, and every call says so.
#if !defined(__x86_64__)

#include <cerrno>

#include "error.h"
#include "kvm.h"
#include "kvm_dirty_log.h"
#include "kvm_machine.h"
#include "kvm_programs.h"
#include "kvm_state.h"

namespace postcopy {

#define NOT_HERE(Function)                                    \
  Napi::Value Function(const Napi::CallbackInfo& info) {      \
    return Throw(info.Env(), {ENOTSUP, "KVM on x86-64", {}}); \
  }

NOT_HERE(KvmMissing)
NOT_HERE(KvmSupportedCpuid)
NOT_HERE(KvmMsrIndexes)
NOT_HERE(KvmProgram)
NOT_HERE(KvmMachineCreate)
NOT_HERE(KvmMachineStart)
NOT_HERE(KvmMachineStop)
NOT_HERE(KvmMachineThrottle)
NOT_HERE(KvmMachineThreads)
NOT_HERE(KvmMachineStatus)
NOT_HERE(KvmMachineTakeOutput)
NOT_HERE(KvmMachineClose)
NOT_HERE(KvmStateNames)
NOT_HERE(KvmGetState)
NOT_HERE(KvmSetState)
NOT_HERE(KvmSetCpuid)
NOT_HERE(KvmEnterFlat)
NOT_HERE(KvmTscKhz)
NOT_HERE(KvmSetTscKhz)
NOT_HERE(KvmLogWrites)
NOT_HERE(KvmHarvestDirtyPages)

#undef NOT_HERE

// The handle table destroys machines, of which none is ever made here.
KvmRunPage::~KvmRunPage() = default;

}  // namespace postcopy

#endif
