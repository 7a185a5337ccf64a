// What a machine's vCPUs put out at its ports, kept until JavaScript takes it.
//
// vCPU threads add, the owner's thread takes. Invariants:
//  1. Nothing is lost or doubled: what was added stays until it is taken.
//  2. A vCPU waits while more is kept than kOutputLimit, unless it is told to stop.
//  3. The bell belongs to the environment that made it: it does not keep that alive, and ringing it
//     after its end does nothing.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace postcopy {

inline constexpr size_t kOutputLimit = 64 * 1024;

// Calls a JavaScript function, without arguments, from any thread.
class Bell {
 public:
  // Thread of the environment only.
  static std::shared_ptr<Bell> Make(const Napi::Function& callback);

  void Ring();
  // It rings no more. Harmless twice.
  void Close();

 private:
  static void Ended(napi_env env, void* data, void* hint);

  std::mutex mutex_;
  napi_threadsafe_function function_ = nullptr;  // guarded by the mutex
};

struct OutputChunk {
  uint32_t vcpu;
  uint16_t port;
  std::string bytes;
};

// Guarded by its machine's mutex.
class Output {
 public:
  void Add(uint32_t vcpu, uint16_t port, char byte);
  bool IsFull() const { return bytes_ >= kOutputLimit; }
  std::vector<OutputChunk> Take();

 private:
  std::vector<OutputChunk> chunks_;
  size_t bytes_ = 0;
};

}  // namespace postcopy
