// Counts the system calls of other processes: built and run by syscall-counter.ts of the benches.
//
//   syscall_counter PID...
//
// Prints `ready`. Then for each line of standard input a line of JSON: how many system calls each
// of the processes has begun since, all its threads together, those that came later as well. They
// are counted by the kernel's tracepoint raw_syscalls:sys_enter, which takes root; the processes
// are not stopped, only slowed down. Ends with the input. A failed system call ends it with status
// 1 and the call's name.
#include <dirent.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr const char* kTracing = "/sys/kernel/tracing";
constexpr const char* kEventId = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id";

[[noreturn]] void Fail(const char* call) {
  std::fprintf(stderr, "%s: %s\n", call, std::strerror(errno));
  std::exit(1);
}

template <typename T>
T Check(T result, const char* call) {
  if (result < 0) Fail(call);
  return result;
}

// Where nobody has mounted tracefs, it is mounted for this process alone, and goes with it.
uint64_t EventId() {
  if (access(kEventId, R_OK) != 0) {
    Check(unshare(CLONE_NEWNS), "unshare");
    Check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount(MS_PRIVATE)");
    Check(mount("tracefs", kTracing, "tracefs", 0, nullptr), "mount(tracefs)");
  }
  uint64_t id = 0;
  if (!(std::ifstream(kEventId) >> id)) Fail("read(sys_enter)");
  return id;
}

// A counter of one thread, and of all that it starts from now on. Negative where it has ended.
int OpenCounter(uint64_t event, pid_t thread) {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.config = event;
  attributes.inherit = 1;
  const long fd = syscall(SYS_perf_event_open, &attributes, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
  if (fd < 0 && errno != ESRCH) Fail("perf_event_open");
  return static_cast<int>(fd);
}

// Of each thread that a process has.
std::vector<int> OpenCounters(uint64_t event, const std::string& pid) {
  const std::unique_ptr<DIR, int (*)(DIR*)> threads(opendir(("/proc/" + pid + "/task").c_str()),
                                                    closedir);
  if (threads == nullptr) Fail("opendir(task)");
  std::vector<int> counters;
  while (const dirent* const entry = readdir(threads.get())) {
    const pid_t thread = std::atoi(entry->d_name);
    const int counter = thread > 0 ? OpenCounter(event, thread) : -1;
    if (counter >= 0) counters.push_back(counter);
  }
  return counters;
}

uint64_t SumOf(const std::vector<int>& counters) {
  uint64_t sum = 0;
  for (const int counter : counters) {
    uint64_t count = 0;
    if (read(counter, &count, sizeof count) != sizeof count) Fail("read(perf event)");
    sum += count;
  }
  return sum;
}

void Print(const std::vector<std::vector<int>>& processes) {
  const char* before = "[";
  for (const std::vector<int>& counters : processes) {
    std::printf("%s%llu", before, static_cast<unsigned long long>(SumOf(counters)));
    before = ",";
  }
  std::puts("]");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: see the head of syscall_counter.cc\n");
    return 2;
  }
  const uint64_t event = EventId();
  std::vector<std::vector<int>> processes;
  for (int i = 1; i < argc; ++i) processes.push_back(OpenCounters(event, argv[i]));
  std::puts("ready");
  std::fflush(stdout);
  for (int character = std::getchar(); character != EOF; character = std::getchar()) {
    if (character == '\n') Print(processes);
  }
  return 0;
}
