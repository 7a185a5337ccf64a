// The guests' programmes; see kvm_programs.h.
#include "kvm_programs.h"

#if defined(__x86_64__)

#include <algorithm>
#include <cstdint>
#include <string>

#include "arguments.h"

extern "C" {
extern const uint8_t kvm_writer_begin[];
extern const uint8_t kvm_writer_end[];
extern const uint8_t kvm_latency_begin[];
extern const uint8_t kvm_latency_end[];
}

namespace postcopy {

namespace {

struct Program {
  const char* name;
  const uint8_t* begin;
  const uint8_t* end;
};

constexpr Program kPrograms[] = {
    {"writer", kvm_writer_begin, kvm_writer_end},
    {"latency", kvm_latency_begin, kvm_latency_end},
};

}  // namespace

Napi::Value KvmProgram(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const std::string name = arguments.String("name");
  const auto* program =
      std::ranges::find_if(kPrograms, [&](const Program& known) { return name == known.name; });
  arguments.Require(program != std::end(kPrograms), "name", "be writer or latency");
  if (arguments.failed()) return {};
  Napi::Uint8Array image =
      Napi::Uint8Array::New(info.Env(), static_cast<size_t>(program->end - program->begin));
  std::copy(program->begin, program->end, image.Data());
  return image;
}

}  // namespace postcopy

#endif
