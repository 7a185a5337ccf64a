// Argument checks; see arguments.h.
#include "arguments.h"

#include <cerrno>
#include <cmath>

#include "ram_block.h"

namespace postcopy {

void Arguments::Require(bool holds, const char* name, std::string_view must) {
  if (failed_ || holds) return;
  failed_ = true;
  const std::string message = std::string(name) + " must " + std::string(must);
  napi_throw_range_error(env_, "ERR_OUT_OF_RANGE", message.c_str());
}

void Arguments::RequireType(bool holds, const char* name, std::string_view type) {
  if (failed_ || holds) return;
  failed_ = true;
  const std::string message = std::string(name) + " must be " + std::string(type);
  napi_throw_type_error(env_, "ERR_INVALID_ARG_TYPE", message.c_str());
}

uint64_t Arguments::ToInteger(const Napi::Value& value, const char* name, uint64_t minimum,
                              uint64_t maximum) {
  RequireType(value.IsNumber(), name, "a number");
  if (failed_) return 0;
  const double number = value.As<Napi::Number>().DoubleValue();
  const bool holds = number >= static_cast<double>(minimum) &&
                     number <= static_cast<double>(maximum) && std::trunc(number) == number;
  if (!holds) {
    Require(false, name,
            "be an integer from " + std::to_string(minimum) + " to " + std::to_string(maximum));
    return 0;
  }
  return static_cast<uint64_t>(number);
}

uint64_t Arguments::Integer(const char* name, uint64_t minimum, uint64_t maximum) {
  return ToInteger(Take(), name, minimum, maximum);
}

int Arguments::TimeoutMs(const char* name) {
  const Napi::Value value = Take();
  RequireType(value.IsNumber(), name, "a number");
  if (failed_) return 0;
  const double number = value.As<Napi::Number>().DoubleValue();
  Require(number >= -1 && number <= INT32_MAX && std::trunc(number) == number, name,
          "be -1 or a number of milliseconds");
  return failed_ ? 0 : static_cast<int>(number);
}

uint64_t Arguments::Bits(const char* name) {
  const Napi::Value value = Take();
  RequireType(value.IsBigInt(), name, "a bigint");
  if (failed_) return 0;
  bool lossless = false;
  const uint64_t bits = value.As<Napi::BigInt>().Uint64Value(&lossless);
  Require(lossless, name, "fit in 64 unsigned bits");
  return bits;
}

std::string Arguments::String(const char* name) {
  const Napi::Value value = Take();
  RequireType(value.IsString(), name, "a string");
  return failed_ ? std::string() : value.As<Napi::String>().Utf8Value();
}

Napi::Function Arguments::Callback(const char* name) {
  const Napi::Value value = Take();
  RequireType(value.IsFunction(), name, "a function");
  return failed_ ? Napi::Function() : value.As<Napi::Function>();
}

Napi::Object Arguments::Dictionary(const char* name) {
  const Napi::Value value = Take();
  RequireType(value.IsObject(), name, "an object");
  return failed_ ? Napi::Object() : value.As<Napi::Object>();
}

Napi::ArrayBuffer Arguments::BufferProperty(const Napi::Object& object, const char* name) {
  if (failed_) return {};
  const Napi::Value value = object.Get(name);
  RequireType(value.IsArrayBuffer(), name, "an ArrayBuffer");
  return failed_ ? Napi::ArrayBuffer() : value.As<Napi::ArrayBuffer>();
}

uint64_t Arguments::IntegerProperty(const Napi::Object& object, const char* name, uint64_t minimum,
                                    uint64_t maximum) {
  return failed_ ? 0 : ToInteger(object.Get(name), name, minimum, maximum);
}

std::string Arguments::StringProperty(const Napi::Object& object, const char* name) {
  if (failed_) return {};
  const Napi::Value value = object.Get(name);
  RequireType(value.IsString(), name, "a string");
  return failed_ ? std::string() : value.As<Napi::String>().Utf8Value();
}

Object Arguments::ToHandle(const Napi::Value& value, const char* name, size_t kind) {
  RequireType(value.IsNumber(), name, "a handle (a number)");
  if (failed_) return {};
  const double number = value.As<Napi::Number>().DoubleValue();
  // Not a positive integer: a number that no handle has.
  const bool possible =
      number >= 1 && number <= static_cast<double>(kMaxSafeInteger) && std::trunc(number) == number;
  last_handle_ = possible ? static_cast<uint64_t>(number) : 0;
  Object object = FindHandle(last_handle_);
  const bool open = !std::visit([](const auto& pointer) { return pointer == nullptr; }, object);
  if (open && object.index() == kind) return object;
  failed_ = true;
  Failure failure{EBADF, "handle", {{name, number}, {"expected", std::string(kKindNames[kind])}}};
  if (open) failure.arguments.emplace_back("found", std::string(kKindNames[object.index()]));
  Throw(env_, failure);
  return {};
}

Napi::Array Arguments::TakeHandleArray(const char* name, uint32_t minimum, uint32_t maximum) {
  const Napi::Value value = Take();
  RequireType(value.IsArray(), name, "an array of handles");
  if (failed_) return {};
  const auto array = value.As<Napi::Array>();
  Require(array.Length() >= minimum && array.Length() <= maximum, name,
          "hold " + std::to_string(minimum) + " to " + std::to_string(maximum) + " handles");
  return array;
}

void* Arguments::TakeArray(const char* name, napi_typedarray_type type, const char* type_name,
                           size_t* length) {
  const Napi::Value value = Take();
  RequireType(value.IsTypedArray(), name, type_name);
  if (failed_) return nullptr;
  napi_typedarray_type found;
  void* data = nullptr;
  napi_get_typedarray_info(env_, value, &found, length, &data, nullptr, nullptr);
  RequireType(found == type, name, type_name);
  if (!failed_) return data;
  *length = 0;
  return nullptr;
}

Range TakePageRange(Arguments& arguments, const RamBlock* block, const char* offset_name,
                    const char* length_name) {
  const uint64_t offset = arguments.Integer(offset_name);
  const uint64_t length = arguments.Integer(length_name);
  if (arguments.failed()) return {};
  arguments.Require(offset % block->page_size == 0, offset_name,
                    "be a multiple of the block's page size");
  arguments.Require(offset < block->size, offset_name, "lie inside the block");
  arguments.Require(length > 0 && length % block->page_size == 0, length_name,
                    "be a positive multiple of the block's page size");
  arguments.Require(length <= block->size - offset, length_name, "end inside the block");
  return {offset, length};
}

uint64_t TakePageSize(Arguments& arguments) {
  const uint64_t page_size = arguments.Integer("pageSize", 1024, uint64_t{1} << 30);
  arguments.Require((page_size & (page_size - 1)) == 0, "pageSize", "be a power of two");
  return page_size;
}

std::vector<uint32_t> TakePages(Arguments& arguments, const RamBlock* block, uint64_t page_size) {
  const std::span<const uint32_t> pages = arguments.Array<uint32_t>("pages");
  const uint64_t count = arguments.Integer("count");
  arguments.Require(count <= pages.size(), "count", "not exceed the length of pages");
  if (arguments.failed()) return {};
  std::vector<uint32_t> copy(pages.begin(), pages.begin() + static_cast<ptrdiff_t>(count));
  const uint64_t limit = block->size / page_size;
  for (const uint32_t page : copy) {
    if (page < limit) continue;
    arguments.Require(false, "pages",
                      "lie inside the block, which has " + std::to_string(limit) + " pages (" +
                          std::to_string(page) + " does not)");
    return {};
  }
  return copy;
}

std::vector<uint32_t> TakeArenaOffsets(Arguments& arguments, size_t count, size_t arena_size,
                                       uint64_t page_size) {
  const std::span<const uint32_t> offsets = arguments.Array<uint32_t>("offsets");
  arguments.Require(offsets.size() >= count, "offsets", "hold an offset for every page");
  if (arguments.failed()) return {};
  std::vector<uint32_t> copy(offsets.begin(), offsets.begin() + static_cast<ptrdiff_t>(count));
  for (const uint32_t offset : copy) {
    if (offset + page_size <= arena_size) continue;
    arguments.Require(false, "offsets", "leave room for a page in the arena");
    return {};
  }
  return copy;
}

}  // namespace postcopy
