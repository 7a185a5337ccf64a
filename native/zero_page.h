// Whether a page holds one byte all over. Any thread; reading may fault like any access.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>

namespace postcopy {

// `page` is 16-byte aligned, `size` a multiple of 128.
bool PageHolds(const void* page, size_t size, uint8_t byte);

Napi::Value FindZeroPages(const Napi::CallbackInfo& info);

}  // namespace postcopy
