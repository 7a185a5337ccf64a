// The least that a source can do about requested pages: built and run by latency.ts of the
// benches.
//
//   bare_source unix PATH | tcp PORT
//
// Connects twice. One thread sends bytes over the first connection as fast as they go; another one,
// as far ahead of it as it may be, answers each REQ_PAGES that comes there with one page over the
// second (qemu-stream.md: return path, page records). No bitmap, no memory of a guest, no checks.
// Ends, with status 0, when the peer goes.
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
// What is sent meanwhile, in such pieces: more than the caches hold, as a guest is.
constexpr size_t kBackground = 256 << 20;
constexpr size_t kPiece = 64 << 10;
constexpr uint64_t kPageFlag = 0x08;
// Payload of a request without a name.
constexpr size_t kUnnamed = 12;
constexpr int kAhead = -19;

int ConnectUnix(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  return connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ? -1 : fd;
}

int ConnectTcp(const char* port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ? -1 : fd;
}

int Connect(std::string_view transport, const char* where) {
  const int fd = transport == "unix" ? ConnectUnix(where) : ConnectTcp(where);
  if (fd < 0) {
    std::fprintf(stderr, "connect %s: %s\n", where, std::strerror(errno));
    std::exit(1);
  }
  return fd;
}

bool SendAll(int fd, const char* from, size_t length) {
  while (length > 0) {
    const ssize_t sent = send(fd, from, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    from += sent;
    length -= static_cast<size_t>(sent);
  }
  return true;
}

bool ReceiveAll(int fd, void* to, size_t length) {
  auto* at = static_cast<char*>(to);
  while (length > 0) {
    const ssize_t received = recv(fd, at, length, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    at += received;
    length -= static_cast<size_t>(received);
  }
  return true;
}

void SendBackground(int fd) {
  const std::vector<char> memory(kBackground, 1);
  for (size_t at = 0; SendAll(fd, memory.data() + at, kPiece);) at = (at + kPiece) % kBackground;
}

struct __attribute__((packed)) Request {
  uint16_t type;
  uint16_t length;
  uint64_t start;
  uint32_t bytes;
};

// Each page names its block: the name is that of the first request.
void AnswerRequests(int requests, int pages) {
  setpriority(PRIO_PROCESS, 0, kAhead);  // refused, it does without
  std::string name;
  std::string answer;
  for (Request request; ReceiveAll(requests, &request, sizeof request);) {
    const size_t length = be16toh(request.length);
    if (length > kUnnamed) {
      name.resize(length - kUnnamed);
      if (!ReceiveAll(requests, name.data(), name.size())) return;
    }
    const uint64_t head = htobe64(be64toh(request.start) | kPageFlag);
    answer.assign(reinterpret_cast<const char*>(&head), sizeof head);
    answer.append(name);
    answer.append(kPage, '\1');
    if (!SendAll(pages, answer.data(), answer.size())) return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: see the head of bare_source.cc\n");
    return 2;
  }
  const int main_connection = Connect(argv[1], argv[2]);
  const int preempt_connection = Connect(argv[1], argv[2]);
  std::thread background(SendBackground, main_connection);
  AnswerRequests(main_connection, preempt_connection);
  shutdown(main_connection, SHUT_RDWR);
  background.join();
  return 0;
}
