// Shares in the memory of ArrayBuffers; see backing_store.h.
#include "backing_store.h"

#include <dlfcn.h>

namespace postcopy {

namespace {

// `std::shared_ptr<v8::BackingStore> v8::ArrayBuffer::GetBackingStore()`, called as the function it
// is: a napi_value is the address that V8 calls `this`.
using GetBackingStore = std::shared_ptr<void> (*)(napi_value);
constexpr const char* kGetBackingStore = "_ZN2v811ArrayBuffer15GetBackingStoreEv";

// `v8::ArrayBuffer::New(v8::Isolate*, std::shared_ptr<v8::BackingStore>)`. Never called: that it is
// there by this name tells that V8's shared_ptr is the one of libstdc++, as ours is. Another
// library's has a name of its own.
constexpr const char* kTakesOurSharedPtr =
    "_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE";

GetBackingStore Find() {
  if (dlsym(RTLD_DEFAULT, kTakesOurSharedPtr) == nullptr) return nullptr;
  return reinterpret_cast<GetBackingStore>(dlsym(RTLD_DEFAULT, kGetBackingStore));
}

}  // namespace

std::shared_ptr<void> ShareBackingStore(const Napi::ArrayBuffer& buffer) {
  static const GetBackingStore get = Find();
  return get == nullptr ? nullptr : get(buffer);
}

}  // namespace postcopy
