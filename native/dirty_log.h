// The dirty log: which pages were written, by PAGEMAP_SCAN over asynchronous write-protection.
// Any thread, several at once on different ranges.
#pragma once

#include <napi.h>

namespace postcopy {

Napi::Value HarvestDirtyPages(const Napi::CallbackInfo& info);
Napi::Value FindAbsentPages(const Napi::CallbackInfo& info);
Napi::Value CountPages(const Napi::CallbackInfo& info);
Napi::Value HasPagemapScan(const Napi::CallbackInfo& info);

}  // namespace postcopy
