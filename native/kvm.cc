// KVM; see kvm.h.
#include "kvm.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "kvm_abi.h"
#include "unique_fd.h"

namespace postcopy {

Outcome OpenKvm(UniqueFd* kvm) {
  *kvm = UniqueFd(open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (*kvm) return {};
  return Failure{errno, "open", {{"path", std::string("/dev/kvm")}}};
}

Napi::Value KvmApiVersion(const Napi::CallbackInfo& info) {
  UniqueFd kvm;
  if (const Outcome failure = OpenKvm(&kvm)) return Throw(info.Env(), *failure);
  const int version = ioctl(kvm.get(), KVM_GET_API_VERSION, 0);
  if (version < 0) return Throw(info.Env(), {errno, "ioctl(KVM_GET_API_VERSION)", {}});
  return Napi::Number::New(info.Env(), version);
}

#if defined(__x86_64__)

namespace {

constexpr uint32_t kMaxCpuidEntries = 1024;
constexpr uint32_t kMaxMsrs = 4096;

struct Extension {
  const char* name;
  int number;
};

// What a machine can't do without. All are older than the kernels that have userfaultfd events.
#define EXTENSION(name) {#name, name}
constexpr Extension kNeeded[] = {
    EXTENSION(KVM_CAP_USER_MEMORY), EXTENSION(KVM_CAP_SYNC_MMU), EXTENSION(KVM_CAP_EXT_CPUID),
    EXTENSION(KVM_CAP_VCPU_EVENTS), EXTENSION(KVM_CAP_MP_STATE), EXTENSION(KVM_CAP_IMMEDIATE_EXIT),
};
#undef EXTENSION

// A kernel structure that ends in an array, whose length the kernel fills in as its first word.
template <class Entry>
class Listing {
 public:
  Listing(size_t head_bytes, uint32_t capacity)
      : head_words_(head_bytes / sizeof(uint32_t)),
        words_(head_words_ + capacity * sizeof(Entry) / sizeof(uint32_t)) {
    words_[0] = capacity;
  }
  void* head() { return words_.data(); }
  uint32_t count() const { return words_[0]; }
  size_t bytes() const { return count() * sizeof(Entry); }
  const void* entries() const { return words_.data() + head_words_; }

 private:
  size_t head_words_;
  std::vector<uint32_t> words_;
};

}  // namespace

Napi::Value KvmMissing(const Napi::CallbackInfo& info) {
  UniqueFd kvm;
  if (const Outcome failure = OpenKvm(&kvm)) return Throw(info.Env(), *failure);
  Napi::Array missing = Napi::Array::New(info.Env());
  for (const auto& [name, number] : kNeeded) {
    if (ioctl(kvm.get(), KVM_CHECK_EXTENSION, number) > 0) continue;
    missing.Set(missing.Length(), Napi::String::New(info.Env(), name));
  }
  return missing;
}

Napi::Value KvmSupportedCpuid(const Napi::CallbackInfo& info) {
  UniqueFd kvm;
  if (const Outcome failure = OpenKvm(&kvm)) return Throw(info.Env(), *failure);
  Listing<kvm_cpuid_entry2> list(kCpuidHeadBytes, kMaxCpuidEntries);
  if (ioctl(kvm.get(), kGetSupportedCpuid, list.head()) < 0) {
    return Throw(info.Env(), {errno, "ioctl(KVM_GET_SUPPORTED_CPUID)", {}});
  }
  Napi::Uint8Array entries = Napi::Uint8Array::New(info.Env(), list.bytes());
  memcpy(entries.Data(), list.entries(), list.bytes());
  return entries;
}

Napi::Value KvmMsrIndexes(const Napi::CallbackInfo& info) {
  UniqueFd kvm;
  if (const Outcome failure = OpenKvm(&kvm)) return Throw(info.Env(), *failure);
  Listing<uint32_t> list(kMsrListHeadBytes, kMaxMsrs);
  if (ioctl(kvm.get(), kGetMsrIndexList, list.head()) < 0) {
    return Throw(info.Env(), {errno, "ioctl(KVM_GET_MSR_INDEX_LIST)", {}});
  }
  Napi::Uint32Array indexes = Napi::Uint32Array::New(info.Env(), list.count());
  memcpy(indexes.Data(), list.entries(), list.bytes());
  return indexes;
}

#endif

}  // namespace postcopy
