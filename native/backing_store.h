// What keeps the memory of an ArrayBuffer mapped when its JavaScript has gone.
//
// Node-API has no call for it: a reference holds an object only as long as its environment lives,
// and a worker that ends takes its ArrayBuffers along while other threads may still copy from them.
// V8 itself counts who uses such memory, and gives a share in it to whoever asks. The call is found
// by name when the addon runs, so the addon is not tied to one V8.
//
// Thread of the environment; the share may be given up by any thread.
#pragma once

#include <napi.h>

#include <memory>

namespace postcopy {

// A share in the buffer's memory; empty where this runtime has no way to take one.
std::shared_ptr<void> ShareBackingStore(const Napi::ArrayBuffer& buffer);

}  // namespace postcopy
