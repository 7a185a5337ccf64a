// The process-wide table of what JavaScript holds by number: handle → object.
//
// Any thread. Invariants:
//  1. A handle is never reused, so a stale one is EBADF, never another object.
//  2. A lookup returns a shared_ptr: an object lives until the last call that uses it has returned,
//     whoever closes the handle meanwhile.
//  3. The table is never destroyed. At exit vCPU threads may still run, and a userfaultfd closed
//     under them would turn their missing pages into zeroes.
#pragma once

#include <napi.h>

#include <array>
#include <cstdint>
#include <memory>
#include <variant>

namespace postcopy {

struct RamBlock;
struct Userfaultfd;
struct Eventfd;
struct Socket;
struct StressGuest;
struct KvmMachine;

using Object = std::variant<std::shared_ptr<RamBlock>, std::shared_ptr<Userfaultfd>,
                            std::shared_ptr<Eventfd>, std::shared_ptr<Socket>,
                            std::shared_ptr<StressGuest>, std::shared_ptr<KvmMachine>>;

// In the order of Object's alternatives.
inline constexpr std::array<const char*, 6> kKindNames = {"RamBlock", "Userfaultfd", "Eventfd",
                                                          "Socket",   "StressGuest", "KvmMachine"};

// The position of T among Object's alternatives.
template <class T>
constexpr size_t KindOf() {
  return Object(std::in_place_type<std::shared_ptr<T>>).index();
}

uint64_t InsertHandle(Object object);

// The object of a handle, or an empty pointer of the first alternative when there is none.
Object FindHandle(uint64_t handle);

// Forgets the handle; the object goes with its last user.
void RemoveHandle(uint64_t handle);

Napi::Value OpenHandles(const Napi::CallbackInfo& info);

}  // namespace postcopy
