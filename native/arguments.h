// The vocabulary of argument checks: each takes the next argument and its name, so that a
// function's preconditions read as a list in the order of lib/native.ts.
//
// The first check that fails throws (TypeError, RangeError, or EBADF for a handle) and makes every
// later one return an empty value; a function asks `failed()` once, before it does anything.
// Thread of the environment only. Spans point into ArrayBuffers, which can't move or go while the
// call runs, as it blocks the only thread that could detach them.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "error.h"
#include "handles.h"

namespace postcopy {

inline constexpr uint64_t kMaxSafeInteger = (uint64_t{1} << 53) - 1;

// A typed array's element type in Node-API.
template <class T>
struct TypedArray;
template <>
struct TypedArray<uint8_t> {
  static constexpr napi_typedarray_type kType = napi_uint8_array;
  static constexpr const char* kName = "a Uint8Array";
};
template <>
struct TypedArray<uint32_t> {
  static constexpr napi_typedarray_type kType = napi_uint32_array;
  static constexpr const char* kName = "a Uint32Array";
};
template <>
struct TypedArray<double> {
  static constexpr napi_typedarray_type kType = napi_float64_array;
  static constexpr const char* kName = "a Float64Array";
};

class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info), env_(info.Env()) {}

  bool failed() const { return failed_; }

  // The open object behind a handle. The handle itself is kept for functions that close it.
  template <class T>
  std::shared_ptr<T> Handle(const char* name) {
    Object object = ToHandle(Take(), name, KindOf<T>());
    return failed_ ? nullptr : std::get<std::shared_ptr<T>>(object);
  }
  // The open objects behind an array of `minimum` to `maximum` handles.
  template <class T>
  std::vector<std::shared_ptr<T>> Handles(const char* name, uint32_t minimum, uint32_t maximum) {
    std::vector<std::shared_ptr<T>> objects;
    const Napi::Array array = TakeHandleArray(name, minimum, maximum);
    for (uint32_t i = 0; !failed_ && i < array.Length(); i++) {
      Object object = ToHandle(array.Get(i), name, KindOf<T>());
      if (!failed_) objects.push_back(std::get<std::shared_ptr<T>>(object));
    }
    return objects;
  }
  uint64_t last_handle() const { return last_handle_; }

  // An integer in [minimum, maximum].
  uint64_t Integer(const char* name, uint64_t minimum = 0, uint64_t maximum = kMaxSafeInteger);
  // -1, or a number of milliseconds.
  int TimeoutMs(const char* name);
  // A bigint of 64 unsigned bits.
  uint64_t Bits(const char* name);
  std::string String(const char* name);
  Napi::Function Callback(const char* name);
  // An object; its properties are taken with `Property…`.
  Napi::Object Dictionary(const char* name);
  // A property that is an ArrayBuffer, not one that is shared between threads.
  Napi::ArrayBuffer BufferProperty(const Napi::Object& object, const char* name);
  uint64_t IntegerProperty(const Napi::Object& object, const char* name, uint64_t minimum,
                           uint64_t maximum);
  std::string StringProperty(const Napi::Object& object, const char* name);

  // The elements of a typed array; it may sit on a SharedArrayBuffer.
  template <class T>
  std::span<T> Array(const char* name) {
    size_t length = 0;
    void* data = TakeArray(name, TypedArray<T>::kType, TypedArray<T>::kName, &length);
    return {static_cast<T*>(data), length};
  }

  // Throws a RangeError `name must …` unless `holds`.
  void Require(bool holds, const char* name, std::string_view must);

 private:
  Napi::Value Take() { return info_[next_++]; }
  uint64_t ToInteger(const Napi::Value& value, const char* name, uint64_t minimum,
                     uint64_t maximum);
  Object ToHandle(const Napi::Value& value, const char* name, size_t kind);
  Napi::Array TakeHandleArray(const char* name, uint32_t minimum, uint32_t maximum);
  void* TakeArray(const char* name, napi_typedarray_type type, const char* type_name,
                  size_t* length);
  void RequireType(bool holds, const char* name, std::string_view type);

  const Napi::CallbackInfo& info_;
  Napi::Env env_;
  size_t next_ = 0;
  uint64_t last_handle_ = 0;
  bool failed_ = false;
};

// Ranges of a block, on top of the vocabulary above.

struct Range {
  uint64_t offset;
  uint64_t length;
};

// The next two arguments, `offset` and `length`: not empty, aligned to the block's pages, inside
// it.
Range TakePageRange(Arguments& arguments, const RamBlock* block, const char* offset_name = "offset",
                    const char* length_name = "length");

// The page sizes a page index may count: powers of two from 1 KiB to 1 GiB.
uint64_t TakePageSize(Arguments& arguments);

// `pages` and `count`: a copy of the first `count` page indexes, each inside the block. A copy, as
// the array may be shared: what was checked is what is used.
std::vector<uint32_t> TakePages(Arguments& arguments, const RamBlock* block, uint64_t page_size);

// `offsets`: a copy of the first `count` offsets of whole pages in an arena of `arena_size` bytes.
std::vector<uint32_t> TakeArenaOffsets(Arguments& arguments, size_t count, size_t arena_size,
                                       uint64_t page_size);

}  // namespace postcopy
