// NativeError: what a failed system call becomes in JavaScript, `{ code, errno, syscall, arguments
// }`.
//
// A Failure may be made in any thread; turning it into a JavaScript value belongs to the thread of
// that environment.
#pragma once

#include <napi.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace postcopy {

// A number, a bigint or a string in JavaScript.
using ErrorValue = std::variant<double, uint64_t, std::string>;

struct Failure {
  int error;            // errno
  std::string syscall;  // such as `ioctl(UFFDIO_COPY)`
  std::vector<std::pair<const char*, ErrorValue>> arguments;
};

// Nothing, or why not.
using Outcome = std::optional<Failure>;

napi_value MakeNativeError(napi_env env, const Failure& failure);

// Throws and returns the empty value, so that a call can end with `return Throw(…)`.
Napi::Value Throw(napi_env env, const Failure& failure);

// The name of an errno, such as `EPERM`.
std::string ErrnoName(int error);

}  // namespace postcopy
