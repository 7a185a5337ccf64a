// The kick; see eventfd.h.
#include "eventfd.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "arguments.h"
#include "thread.h"

namespace postcopy {

Wake WaitFor(int fd, short events, const Eventfd& kick, int timeout_ms) {
  const int64_t deadline_ns = MonotonicNs() + int64_t{timeout_ms} * 1'000'000;
  for (;;) {
    if (kick.signalled.load()) return Wake::kKicked;
    int remaining_ms = -1;
    if (timeout_ms >= 0) {
      const int64_t remaining_ns = std::max<int64_t>(deadline_ns - MonotonicNs(), 0);
      remaining_ms = static_cast<int>((remaining_ns + 999'999) / 1'000'000);
    }
    pollfd polled[] = {{fd, events, 0}, {kick.fd.get(), POLLIN, 0}};
    const int ready = poll(polled, 2, remaining_ms);
    if (ready < 0 && errno != EINTR) return Wake::kFailed;
    if (ready < 0) continue;
    if (polled[1].revents != 0) return Wake::kKicked;
    if (polled[0].revents != 0) return Wake::kReady;
    if (timeout_ms >= 0) return Wake::kTimedOut;
  }
}

Napi::Value EventfdCreate(const Napi::CallbackInfo& info) {
  auto eventfd = std::make_shared<Eventfd>();
  eventfd->fd = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!eventfd->fd) return Throw(info.Env(), {errno, "eventfd", {}});
  return Napi::Number::New(info.Env(), static_cast<double>(InsertHandle(std::move(eventfd))));
}

Napi::Value EventfdSignal(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto kick = arguments.Handle<Eventfd>("kick");
  if (arguments.failed()) return {};
  const std::lock_guard lock(kick->mutex);
  kick->signalled = true;
  if (eventfd_write(kick->fd.get(), 1) < 0) return Throw(info.Env(), {errno, "write", {}});
  return info.Env().Undefined();
}

Napi::Value EventfdDrain(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  const auto kick = arguments.Handle<Eventfd>("kick");
  if (arguments.failed()) return {};
  const std::lock_guard lock(kick->mutex);
  kick->signalled = false;
  eventfd_t count;
  if (eventfd_read(kick->fd.get(), &count) < 0 && errno != EAGAIN) {
    return Throw(info.Env(), {errno, "read", {}});
  }
  return info.Env().Undefined();
}

Napi::Value EventfdClose(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  arguments.Handle<Eventfd>("kick");
  if (arguments.failed()) return {};
  RemoveHandle(arguments.last_handle());
  return info.Env().Undefined();
}

}  // namespace postcopy
