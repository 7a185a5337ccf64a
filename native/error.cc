// NativeError; see error.h.
#include "error.h"

#include <cstring>

namespace postcopy {

namespace {

struct ToValue {
  napi_env env;

  napi_value operator()(double number) const {
    napi_value value = nullptr;
    napi_create_double(env, number, &value);
    return value;
  }
  napi_value operator()(uint64_t bits) const {
    napi_value value = nullptr;
    napi_create_bigint_uint64(env, bits, &value);
    return value;
  }
  napi_value operator()(const std::string& text) const {
    napi_value value = nullptr;
    napi_create_string_utf8(env, text.data(), text.size(), &value);
    return value;
  }
};

struct ToText {
  std::string operator()(double number) const {
    // Arguments are integers; to_string of a double would print six decimals.
    return std::to_string(static_cast<int64_t>(number));
  }
  std::string operator()(uint64_t bits) const { return std::to_string(bits); }
  std::string operator()(const std::string& text) const { return text; }
};

std::string Message(const Failure& failure) {
  const char* description = strerrordesc_np(failure.error);
  std::string message = failure.syscall + ": " + ErrnoName(failure.error);
  if (description != nullptr) message += std::string(", ") + description;
  const char* separator = " (";
  for (const auto& [name, value] : failure.arguments) {
    message += separator + std::string(name) + " " + std::visit(ToText{}, value);
    separator = ", ";
  }
  if (!failure.arguments.empty()) message += ")";
  return message;
}

}  // namespace

std::string ErrnoName(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : "UNKNOWN";
}

napi_value MakeNativeError(napi_env env, const Failure& failure) {
  const ToValue to_value{env};
  napi_value error = nullptr;
  napi_create_error(env, to_value(ErrnoName(failure.error)), to_value(Message(failure)), &error);
  napi_value arguments = nullptr;
  napi_create_object(env, &arguments);
  for (const auto& [name, value] : failure.arguments) {
    napi_set_named_property(env, arguments, name, std::visit(to_value, value));
  }
  napi_set_named_property(env, error, "errno", to_value(static_cast<double>(failure.error)));
  napi_set_named_property(env, error, "syscall", to_value(failure.syscall));
  napi_set_named_property(env, error, "arguments", arguments);
  return error;
}

Napi::Value Throw(napi_env env, const Failure& failure) {
  napi_throw(env, MakeNativeError(env, failure));
  return {};
}

}  // namespace postcopy
