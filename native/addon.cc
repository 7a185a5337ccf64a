// The list of everything that TypeScript can call. Read this first, beside lib/native.ts, which
// says what each does; the implementation is in the file of the kernel facility it belongs to.
//
// Loaded once per environment (main thread and workers). An environment's state is its Environment;
// what all share is the handle table.
#include <napi.h>

#include "constants.h"
#include "dirty_log.h"
#include "eventfd.h"
#include "handles.h"
#include "kvm.h"
#include "kvm_dirty_log.h"
#include "kvm_machine.h"
#include "kvm_programs.h"
#include "kvm_state.h"
#include "ram_block.h"
#include "socket.h"
#include "stress_guest.h"
#include "thread.h"
#include "userfaultfd.h"
#include "zero_page.h"

namespace postcopy {

namespace {

struct Function {
  const char* name;
  Napi::Value (*call)(const Napi::CallbackInfo&);
};

constexpr Function kFunctions[] = {
    // thread.cc, handles.cc
    {"monotonicUs", MonotonicUs},
    {"setThreadName", SetThreadName},
    {"raiseThread", RaiseThread},
    {"threadId", ThreadId},
    {"openHandles", OpenHandles},
    // eventfd.cc
    {"eventfdCreate", EventfdCreate},
    {"eventfdSignal", EventfdSignal},
    {"eventfdDrain", EventfdDrain},
    {"eventfdClose", EventfdClose},
    // ram_block.cc
    {"ramBlockCreate", RamBlockCreate},
    {"ramBlockAdopt", RamBlockAdopt},
    {"ramBlockClose", RamBlockClose},
    {"ramBlockInfo", RamBlockInfo},
    {"ramBlockBuffer", RamBlockBuffer},
    {"ramBlockAdvise", RamBlockAdvise},
    {"ramBlockPopulate", RamBlockPopulate},
    {"ramBlockDiscard", RamBlockDiscard},
    {"ramBlockTryDiscard", RamBlockTryDiscard},
    {"ramBlockInhibitDiscard", RamBlockInhibitDiscard},
    {"ramBlockUnmap", RamBlockUnmap},
    {"ramBlockMoveAway", RamBlockMoveAway},
    {"ramBlockLock", RamBlockLock},
    {"ramBlockUnlock", RamBlockUnlock},
    {"ramBlockRead", RamBlockRead},
    {"ramBlockWrite", RamBlockWrite},
    {"loadPages", LoadPages},
    {"fillPages", FillPages},
    // zero_page.cc
    {"findZeroPages", FindZeroPages},
    // userfaultfd.cc
    {"userfaultfdOpen", UserfaultfdOpen},
    {"userfaultfdClose", UserfaultfdClose},
    {"userfaultfdRegister", UserfaultfdRegister},
    {"userfaultfdUnregister", UserfaultfdUnregister},
    {"placePages", PlacePages},
    {"placeZeroPages", PlaceZeroPages},
    {"userfaultfdContinue", UserfaultfdContinue},
    {"userfaultfdMove", UserfaultfdMove},
    {"userfaultfdWriteProtect", UserfaultfdWriteProtect},
    {"userfaultfdPoison", UserfaultfdPoison},
    {"userfaultfdWake", UserfaultfdWake},
    {"awaitEvents", AwaitEvents},
    {"readEvents", ReadEvents},
    // dirty_log.cc
    {"harvestDirtyPages", HarvestDirtyPages},
    {"findAbsentPages", FindAbsentPages},
    {"countPages", CountPages},
    {"hasPagemapScan", HasPagemapScan},
    // socket.cc
    {"socketListen", SocketListen},
    {"socketAccept", SocketAccept},
    {"socketConnect", SocketConnect},
    {"socketPair", SocketPair},
    {"unixSocketIsOpen", UnixSocketIsOpen},
    {"socketShutdown", SocketShutdown},
    {"socketClose", SocketClose},
    {"socketLimitQueue", SocketLimitQueue},
    {"socketReadable", SocketReadable},
    {"socketAwait", SocketAwait},
    {"socketSetPeerTimeout", SocketSetPeerTimeout},
    {"socketReceive", SocketReceive},
    {"socketSend", SocketSend},
    {"socketSendPages", SocketSendPages},
    // kvm.cc
    {"kvmApiVersion", KvmApiVersion},
    {"kvmMissing", KvmMissing},
    {"kvmSupportedCpuid", KvmSupportedCpuid},
    {"kvmMsrIndexes", KvmMsrIndexes},
    // kvm_machine.cc
    {"kvmMachineCreate", KvmMachineCreate},
    {"kvmMachineStart", KvmMachineStart},
    {"kvmMachineStop", KvmMachineStop},
    {"kvmMachineThrottle", KvmMachineThrottle},
    {"kvmMachineThreads", KvmMachineThreads},
    {"kvmMachineStatus", KvmMachineStatus},
    {"kvmMachineTakeOutput", KvmMachineTakeOutput},
    {"kvmMachineClose", KvmMachineClose},
    // kvm_state.cc
    {"kvmStateNames", KvmStateNames},
    {"kvmGetState", KvmGetState},
    {"kvmSetState", KvmSetState},
    {"kvmSetCpuid", KvmSetCpuid},
    {"kvmEnterFlat", KvmEnterFlat},
    {"kvmTscKhz", KvmTscKhz},
    {"kvmSetTscKhz", KvmSetTscKhz},
    // kvm_dirty_log.cc
    {"kvmLogWrites", KvmLogWrites},
    {"kvmHarvestDirtyPages", KvmHarvestDirtyPages},
    // kvm_programs.cc
    {"kvmProgram", KvmProgram},
    // stress_guest.cc
    {"stressGuestCreate", StressGuestCreate},
    {"stressGuestFill", StressGuestFill},
    {"stressGuestStart", StressGuestStart},
    {"stressGuestStop", StressGuestStop},
    {"stressGuestThrottle", StressGuestThrottle},
    {"stressGuestThreads", StressGuestThreads},
    {"stressGuestSave", StressGuestSave},
    {"stressGuestLoad", StressGuestLoad},
    {"stressGuestVerify", StressGuestVerify},
    {"stressGuestStats", StressGuestStats},
    {"stressGuestClose", StressGuestClose},
};

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment);
  exports.Set("constants", MakeConstants(env));
  for (const auto& [name, call] : kFunctions) {
    exports.Set(name, Napi::Function::New(env, call, name));
  }
  return exports;
}

}  // namespace

NODE_API_MODULE(postcopy, Init)

}  // namespace postcopy
