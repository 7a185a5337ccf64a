// Stream sockets, unix and tcp: blocking calls that a kick ends.
//
// Any thread. Descriptors are non-blocking; waiting is a poll on (socket, kick). A message is sent
// under the socket's send lock, so that two never interleave; waiting for that lock is kickable
// too.
#pragma once

#include <napi.h>

#include <atomic>

#include "unique_fd.h"

namespace postcopy {

// A lock whose waiter a kick can release, which no mutex offers. `released` is signalled at an
// unlock that someone waits for.
struct SendLock {
  std::atomic<bool> held = false;
  std::atomic<int> waiters = 0;
  UniqueFd released;
};

// Carries references to pages of guest memory to a socket, where a send would copy them.
struct PagePipe {
  UniqueFd out;
  UniqueFd in;
};

struct Socket {
  UniqueFd fd;
  SendLock send_lock;
  PagePipe pages;                  // under the send lock; made when first wanted
  std::atomic<bool> shut = false;  // by socketShutdown
};

Napi::Value SocketListen(const Napi::CallbackInfo& info);
Napi::Value SocketAccept(const Napi::CallbackInfo& info);
Napi::Value SocketConnect(const Napi::CallbackInfo& info);
Napi::Value SocketPair(const Napi::CallbackInfo& info);
Napi::Value UnixSocketIsOpen(const Napi::CallbackInfo& info);
Napi::Value SocketShutdown(const Napi::CallbackInfo& info);
Napi::Value SocketClose(const Napi::CallbackInfo& info);
Napi::Value SocketLimitQueue(const Napi::CallbackInfo& info);
Napi::Value SocketReadable(const Napi::CallbackInfo& info);
Napi::Value SocketAwait(const Napi::CallbackInfo& info);
Napi::Value SocketSetPeerTimeout(const Napi::CallbackInfo& info);
Napi::Value SocketReceive(const Napi::CallbackInfo& info);
Napi::Value SocketSend(const Napi::CallbackInfo& info);
Napi::Value SocketSendPages(const Napi::CallbackInfo& info);

}  // namespace postcopy
