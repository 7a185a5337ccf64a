// What this host can do at most, without any engine: built and run by limits-program.ts of the
// benches.
//
//   limits rate copy|zeropage|memcpy|read CHUNK BYTES   of memory by chunks, bytes a second
//   limits socket unix|tcp BYTES                        between two processes, bytes a second
//   limits fault local|unix|tcp COUNT                   round trips one by one, microseconds
//   limits warm BYTES                                   has so much free memory made present, 0
//
// Prints one line of JSON. A failed system call ends it with status 1 and the call's name.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "quantiles.h"

namespace {

constexpr size_t kPage = 4096;
// What is copied from, as from a buffer that a socket has just filled.
constexpr size_t kArena = 2 << 20;
constexpr size_t kSocketBuffer = 1 << 20;

template <typename T>
T Check(T result, const char* call) {
  if (result < 0) {
    std::fprintf(stderr, "%s: %s\n", call, std::strerror(errno));
    std::exit(1);
  }
  return result;
}

double NowSeconds() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

// Anonymous memory that goes with its scope.
class Memory {
 public:
  explicit Memory(size_t bytes) : bytes_(bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    Check(at == MAP_FAILED ? -1 : 0, "mmap");
    start_ = static_cast<char*>(at);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { munmap(start_, bytes_); }

  char* start() const { return start_; }
  size_t bytes() const { return bytes_; }
  void Advise(int advice) const { Check(madvise(start_, bytes_, advice), "madvise"); }

 private:
  char* start_;
  size_t bytes_;
};

// Where the system call is closed, the device or faults of user mode only are as good.
int OpenUserfaultfd() {
  int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
  if (fd < 0) {
    const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device >= 0) {
      fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
      close(device);
    }
  }
  if (fd < 0) fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
  Check(fd, "userfaultfd");
  uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
  Check(ioctl(fd, UFFDIO_API, &api), "ioctl(UFFDIO_API)");
  return fd;
}

uint64_t AddressOf(const void* at) { return reinterpret_cast<uint64_t>(at); }

// Registered for missing pages, in small ones as a postcopy has them.
class FaultingMemory {
 public:
  explicit FaultingMemory(size_t bytes) : memory_(bytes), uffd_(OpenUserfaultfd()) {
    memory_.Advise(MADV_NOHUGEPAGE);
    uffdio_register range{};
    range.range = {.start = AddressOf(memory_.start()), .len = bytes};
    range.mode = UFFDIO_REGISTER_MODE_MISSING;
    Check(ioctl(uffd_, UFFDIO_REGISTER, &range), "ioctl(UFFDIO_REGISTER)");
  }
  FaultingMemory(const FaultingMemory&) = delete;
  FaultingMemory& operator=(const FaultingMemory&) = delete;
  ~FaultingMemory() { close(uffd_); }

  char* start() const { return memory_.start(); }
  int uffd() const { return uffd_; }

  void Place(uint64_t address, const char* from, size_t length) const {
    uffdio_copy copy{.dst = address, .src = AddressOf(from), .len = length, .mode = 0, .copy = 0};
    Check(ioctl(uffd_, UFFDIO_COPY, &copy), "ioctl(UFFDIO_COPY)");
  }

  void PlaceZeroes(uint64_t address, size_t length) const {
    uffdio_zeropage zero{.range = {.start = address, .len = length}, .mode = 0, .zeropage = 0};
    Check(ioctl(uffd_, UFFDIO_ZEROPAGE, &zero), "ioctl(UFFDIO_ZEROPAGE)");
  }

 private:
  Memory memory_;
  int uffd_;
};

// Calls `step` for each chunk; bytes a second.
template <typename Step>
double RateOf(size_t bytes, size_t chunk, Step step) {
  const double start = NowSeconds();
  for (size_t at = 0; at + chunk <= bytes; at += chunk) step(at);
  return static_cast<double>(bytes / chunk * chunk) / (NowSeconds() - start);
}

// Whether all of it is zero, as fast as a compiler makes it.
bool IsZero(const char* from, size_t length) {
  uint64_t any = 0;
  const auto* words = reinterpret_cast<const uint64_t*>(from);
  for (size_t i = 0; i < length / sizeof(uint64_t); ++i) any |= words[i];
  return any == 0;
}

// Of what needs no userfaultfd: memory that is there, in huge pages where there are some.
double RateOfPresent(std::string_view what, size_t chunk, size_t bytes, const Memory& arena) {
  const Memory target(bytes);
  target.Advise(MADV_HUGEPAGE);
  std::memset(target.start(), 0, bytes);
  if (what == "memcpy") {
    return RateOf(bytes, chunk, [&](size_t at) {
      std::memcpy(target.start() + at, arena.start() + at % kArena, chunk);
    });
  }
  bool all_zero = true;
  const double rate = RateOf(
      bytes, chunk, [&](size_t at) { all_zero = IsZero(target.start() + at, chunk) && all_zero; });
  return all_zero ? rate : -1.0;
}

double RateOfMissing(std::string_view what, size_t chunk, size_t bytes, const Memory& arena) {
  const FaultingMemory target(bytes);
  const uint64_t base = AddressOf(target.start());
  return RateOf(bytes, chunk, [&](size_t at) {
    if (what == "copy") {
      target.Place(base + at, arena.start() + at % kArena, chunk);
    } else {
      target.PlaceZeroes(base + at, chunk);
    }
  });
}

void MeasureRate(std::string_view what, size_t chunk, size_t bytes) {
  const Memory arena(kArena);
  std::memset(arena.start(), 1, kArena);
  const bool is_missing = what == "copy" || what == "zeropage";
  const double rate = (is_missing ? RateOfMissing : RateOfPresent)(what, chunk, bytes, arena);
  std::printf("{\"bytesPerSecond\":%f}\n", rate);
}

struct Pair {
  int left;
  int right;
};

Pair TcpPair() {
  const int listener = Check(socket(AF_INET, SOCK_STREAM, 0), "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  Check(bind(listener, generic, length), "bind");
  Check(listen(listener, 1), "listen");
  Check(getsockname(listener, generic, &length), "getsockname");
  const int left = Check(socket(AF_INET, SOCK_STREAM, 0), "socket");
  Check(connect(left, generic, length), "connect");
  const int right = Check(accept(listener, nullptr, nullptr), "accept");
  close(listener);
  for (const int fd : {left, right}) {
    const int on = 1;
    Check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
  }
  return {left, right};
}

Pair PairOf(std::string_view transport) {
  if (transport == "tcp") return TcpPair();
  int fds[2];
  Check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), "socketpair");
  for (const int fd : fds) {
    const int bytes = kSocketBuffer;
    Check(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), "setsockopt");
  }
  return {fds[0], fds[1]};
}

void SendAll(int fd, const char* from, size_t length) {
  for (size_t at = 0; at < length;) {
    const ssize_t sent = send(fd, from + at, length - at, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    at += static_cast<size_t>(Check(sent, "send"));
  }
}

// False at the peer's end.
bool ReceiveAll(int fd, char* to, size_t length) {
  for (size_t at = 0; at < length;) {
    const ssize_t received = recv(fd, to + at, length - at, 0);
    if (received < 0 && errno == EINTR) continue;
    if (Check(received, "recv") == 0) return false;
    at += static_cast<size_t>(received);
  }
  return true;
}

// Has a process of its own do `work` with the right end. Returns the left end.
template <typename Work>
int StartPeer(std::string_view transport, Work work) {
  const Pair pair = PairOf(transport);
  if (Check(fork(), "fork") == 0) {
    close(pair.left);
    work(pair.right);
    _exit(0);
  }
  close(pair.right);
  return pair.left;
}

void EndPeer(int fd) {
  close(fd);
  int status = 0;
  Check(wait(&status), "wait");
  if (status != 0) std::exit(1);
}

void MeasureSocket(std::string_view transport, size_t bytes) {
  const size_t chunks = std::max<size_t>(1, bytes / kSocketBuffer);
  const int fd = StartPeer(transport, [&](int peer) {
    const std::vector<char> from(kSocketBuffer, 1);
    for (size_t i = 0; i < chunks; ++i) SendAll(peer, from.data(), from.size());
  });
  std::vector<char> to(kSocketBuffer);
  // From the first on, so that neither the fork nor the first wake-up counts.
  ReceiveAll(fd, to.data(), to.size());
  const double start = NowSeconds();
  size_t received = 0;
  for (size_t i = 1; i < chunks && ReceiveAll(fd, to.data(), to.size()); ++i) received += to.size();
  std::printf("{\"bytesPerSecond\":%f}\n", static_cast<double>(received) / (NowSeconds() - start));
  EndPeer(fd);
}

// Gives any page that is asked for by its address, until the connection ends.
void ServePages(int fd) {
  const std::vector<char> page(kPage, 1);
  for (uint64_t address; ReceiveAll(fd, reinterpret_cast<char*>(&address), sizeof address);) {
    SendAll(fd, page.data(), page.size());
  }
}

// Answers each fault: from this process's memory, or from the peer's where there is one.
void ServeFaults(const FaultingMemory& memory, int peer, size_t count) {
  std::vector<char> page(kPage, 1);
  for (size_t served = 0; served < count; ++served) {
    uffd_msg message;
    Check(read(memory.uffd(), &message, sizeof message), "read(userfaultfd)");
    const uint64_t address = message.arg.pagefault.address & ~(kPage - 1);
    if (peer >= 0) {
      SendAll(peer, reinterpret_cast<const char*>(&address), sizeof address);
      if (!ReceiveAll(peer, page.data(), page.size())) std::exit(1);
    }
    memory.Place(address, page.data(), kPage);
  }
}

void MeasureFault(std::string_view place, size_t count) {
  const int peer = place == "local" ? -1 : StartPeer(place, ServePages);
  std::vector<double> microseconds;
  microseconds.reserve(count);
  {
    const FaultingMemory memory(count * kPage);
    std::thread server([&] { ServeFaults(memory, peer, count); });
    for (size_t i = 0; i < count; ++i) {
      volatile const char* byte = memory.start() + i * kPage;
      const double start = NowSeconds();
      static_cast<void>(*byte);
      microseconds.push_back((NowSeconds() - start) * 1e6);
    }
    server.join();
  }
  if (peer >= 0) EndPeer(peer);
  double sum = 0;
  for (const double each : microseconds) sum += each;
  std::printf("{\"perSecond\":%f,", static_cast<double>(count) / (sum / 1e6));
  PrintQuantiles(microseconds);
  std::puts("}");
}

size_t NumberOf(const char* text) { return static_cast<size_t>(std::strtoull(text, nullptr, 10)); }

// What a hypervisor has taken back of memory that was free it has to find again at the next touch,
// at several times the cost of anything measured here. By huge pages, as those are found last.
void Warm(size_t bytes) {
  const Memory memory(bytes);
  memory.Advise(MADV_HUGEPAGE);
  for (size_t at = 0; at < bytes; at += kPage) memory.start()[at] = 1;
  std::printf("0\n");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "rate" && argc == 5) {
    MeasureRate(argv[2], std::min(NumberOf(argv[3]), kArena), NumberOf(argv[4]));
  } else if (what == "socket" && argc == 4) {
    MeasureSocket(argv[2], NumberOf(argv[3]));
  } else if (what == "fault" && argc == 4) {
    MeasureFault(argv[2], NumberOf(argv[3]));
  } else if (what == "warm" && argc == 3) {
    Warm(NumberOf(argv[2]));
  } else {
    std::fprintf(stderr, "usage: see the head of limits.cc\n");
    return 2;
  }
  return 0;
}
