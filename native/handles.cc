// The handle table; see handles.h.
#include "handles.h"

#include <mutex>
#include <unordered_map>
#include <utility>

#include "eventfd.h"
#include "kvm_machine.h"
#include "ram_block.h"
#include "socket.h"
#include "stress_guest.h"
#include "userfaultfd.h"

namespace postcopy {

namespace {

struct Table {
  std::mutex mutex;
  uint64_t next = 1;
  std::unordered_map<uint64_t, Object> objects;
};

Table& TheTable() {
  static Table* table = new Table;  // deliberately leaked: invariant 3
  return *table;
}

}  // namespace

uint64_t InsertHandle(Object object) {
  Table& table = TheTable();
  const std::lock_guard lock(table.mutex);
  table.objects.emplace(table.next, std::move(object));
  return table.next++;
}

Object FindHandle(uint64_t handle) {
  Table& table = TheTable();
  const std::lock_guard lock(table.mutex);
  const auto found = table.objects.find(handle);
  return found == table.objects.end() ? Object() : found->second;
}

void RemoveHandle(uint64_t handle) {
  Table& table = TheTable();
  Object object;  // destroyed after the lock: closing and unmapping take time
  const std::lock_guard lock(table.mutex);
  const auto found = table.objects.find(handle);
  if (found == table.objects.end()) return;
  object = std::move(found->second);
  table.objects.erase(found);
}

Napi::Value OpenHandles(const Napi::CallbackInfo& info) {
  static constexpr std::array<const char*, kKindNames.size()> kCounters = {
      "ramBlocks", "userfaultfds", "eventfds", "sockets", "stressGuests", "kvmMachines"};
  std::array<uint32_t, kKindNames.size()> counts{};
  {
    Table& table = TheTable();
    const std::lock_guard lock(table.mutex);
    for (const auto& [handle, object] : table.objects) counts[object.index()]++;
  }
  Napi::Object result = Napi::Object::New(info.Env());
  for (size_t kind = 0; kind < counts.size(); kind++) result.Set(kCounters[kind], counts[kind]);
  return result;
}

}  // namespace postcopy
