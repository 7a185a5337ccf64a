// Touches the pages of another process as the vCPUs of a guest would: built and run by toucher.ts
// of the benches, whoever the destination of a migration is.
//
//   toucher PID BYTES THREADS sequential|random
//
// Prints `ready` once its threads are there, and begins when it is told, on a line of standard
// input, where the memory is mapped in that process. Each thread has a part of its own, and reads
// one byte of each page with process_vm_readv: the kernel takes the page fault on the process's
// memory, as KVM does for a vCPU, and the thread sleeps until it is resolved. The random order is
// the same at each run.
//
// Prints one line of JSON: milliseconds from the first touch to the end of the last; how many
// touches found no page there, and the quantiles of those. A failed system call ends it with status
// 1 and the call's name.
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "quantiles.h"

namespace {

constexpr size_t kPage = 4096;
// Of an entry of /proc/PID/pagemap: the page is in memory, or in swap.
constexpr uint64_t kIsThere = uint64_t{3} << 62;

using Clock = std::chrono::steady_clock;

[[noreturn]] void Fail(const char* call) {
  const char* hint = errno == EPERM || errno == EFAULT ? " (run it as root)" : "";
  std::fprintf(stderr, "%s: %s%s\n", call, std::strerror(errno), hint);
  std::exit(1);
}

double Microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

class Target {
 public:
  explicit Target(pid_t pid)
      : pid_(pid), map_(open(("/proc/" + std::to_string(pid) + "/pagemap").c_str(), O_RDONLY)) {
    if (map_ < 0) Fail("open(pagemap)");
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  ~Target() { close(map_); }

  bool Has(uint64_t address) const {
    uint64_t entry = 0;
    const auto at = static_cast<off_t>(address / kPage * sizeof entry);
    if (pread(map_, &entry, sizeof entry, at) != sizeof entry) Fail("pread(pagemap)");
    return (entry & kIsThere) != 0;
  }

  void Touch(uint64_t address) const {
    char byte = 0;
    const iovec here{.iov_base = &byte, .iov_len = 1};
    const iovec there{.iov_base = reinterpret_cast<void*>(address), .iov_len = 1};
    if (process_vm_readv(pid_, &here, 1, &there, 1, 0) != 1) Fail("process_vm_readv");
  }

 private:
  pid_t pid_;
  int map_;
};

struct Times {
  Clock::time_point end;
  std::vector<double> waits;
};

Times TouchAll(const Target& target, uint64_t address, const std::vector<size_t>& pages) {
  Times times{.end = Clock::now(), .waits = {}};
  times.waits.reserve(pages.size());
  for (const size_t page : pages) {
    const uint64_t at = address + page * kPage;
    const bool was_there = target.Has(at);
    const Clock::time_point start = Clock::now();
    target.Touch(at);
    times.end = Clock::now();
    if (!was_there) times.waits.push_back(Microseconds(times.end - start));
  }
  return times;
}

std::vector<std::vector<size_t>> PartsOf(size_t pages, size_t threads, bool is_random) {
  std::vector<std::vector<size_t>> parts(threads);
  for (size_t i = 0; i < threads; ++i) {
    const size_t first = pages * i / threads;
    parts[i].resize(pages * (i + 1) / threads - first);
    std::iota(parts[i].begin(), parts[i].end(), first);
    std::mt19937_64 random(i);
    if (is_random) std::shuffle(parts[i].begin(), parts[i].end(), random);
  }
  return parts;
}

uint64_t ReadAddress() {
  unsigned long long address = 0;
  if (std::scanf("%llu", &address) != 1) std::exit(1);  // who started it has gone
  return address;
}

void Print(const std::vector<Times>& all, Clock::time_point start) {
  Clock::time_point end = start;
  std::vector<double> waits;
  for (const Times& each : all) {
    end = std::max(end, each.end);
    waits.insert(waits.end(), each.waits.begin(), each.waits.end());
  }
  std::printf("{\"allMs\":%f,\"waits\":%zu,", Microseconds(end - start) / 1000, waits.size());
  PrintQuantiles(waits);
  std::puts("}");
}

void Run(pid_t pid, size_t bytes, size_t threads, bool is_random) {
  const Target target(pid);
  const std::vector<std::vector<size_t>> parts = PartsOf(bytes / kPage, threads, is_random);
  std::vector<Times> times(threads);
  std::latch started(static_cast<ptrdiff_t>(threads));
  std::latch begun(1);
  uint64_t address = 0;
  std::vector<std::thread> running;
  for (size_t i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      started.count_down();
      begun.wait();
      times[i] = TouchAll(target, address, parts[i]);
    });
  }
  started.wait();
  std::puts("ready");
  std::fflush(stdout);
  address = ReadAddress();
  const Clock::time_point start = Clock::now();
  begun.count_down();
  for (std::thread& each : running) each.join();
  Print(times, start);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view order = argc == 5 ? argv[4] : "";
  if (order != "sequential" && order != "random") {
    std::fprintf(stderr, "usage: see the head of toucher.cc\n");
    return 2;
  }
  const size_t threads = std::max<size_t>(1, std::strtoul(argv[3], nullptr, 10));
  Run(std::atoi(argv[1]), std::strtoull(argv[2], nullptr, 10), threads, order == "random");
  return 0;
}
