// KVM; see kvm.h.
#include "kvm.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <string>

#include "error.h"
#include "unique_fd.h"

namespace postcopy {

Napi::Value KvmApiVersion(const Napi::CallbackInfo& info) {
  const UniqueFd kvm(open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) return Throw(info.Env(), {errno, "open", {{"path", std::string("/dev/kvm")}}});
  const int version = ioctl(kvm.get(), KVM_GET_API_VERSION, 0);
  if (version < 0) return Throw(info.Env(), {errno, "ioctl(KVM_GET_API_VERSION)", {}});
  return Napi::Number::New(info.Env(), version);
}

}  // namespace postcopy
