// Network namespaces that outlive their maker: pinned by a bind mount at a path, as `ip netns` does
// it.
//
// The calling thread never changes its namespace. Work inside a namespace runs on a fresh thread
// that ends afterwards; netlink and packet sockets keep the namespace they were made in, so most of
// this room only makes its socket there.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <type_traits>

#include "base/fd.h"
#include "base/result.h"

namespace perdure::network {

// One owner: destruction removes the pin (and with the last process the namespace), unless
// released.
class NetworkNamespace {
 public:
  // Makes a namespace, its loopback up, pinned at `path` (absolute). Makes the parent directory if
  // needed and turns it into a shared mount point, so that pins reach and leave other mount
  // namespaces. kExists if something is mounted there already; a left-over plain file is replaced.
  static Result<NetworkNamespace> create(const std::string& path);
  // Opens a pinned namespace without owning the pin. kNotFound; kInvalid if it is no network
  // namespace.
  static Result<NetworkNamespace> open(const std::string& path);
  // The calling thread's own namespace; owns no pin, path is empty.
  static Result<NetworkNamespace> current();

  NetworkNamespace(NetworkNamespace&& other) noexcept;
  NetworkNamespace& operator=(NetworkNamespace&& other) noexcept;
  ~NetworkNamespace();

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }

  // The pin stays when this object goes: the container lives on without the daemon.
  void release() { owns_pin_ = false; }
  // Makes this object the owner of the pin of an opened namespace.
  void adopt() { owns_pin_ = !path_.empty(); }
  // Removes the pin now, if this object owns it; else does nothing.
  Status remove();

 private:
  NetworkNamespace(UniqueFd fd, std::string path, bool owns_pin)
      : fd_(std::move(fd)), path_(std::move(path)), owns_pin_(owns_pin) {}

  UniqueFd fd_;
  std::string path_;
  bool owns_pin_ = false;
};

// Removes the pin at `path`; nothing there is success.
Status delete_netns(const std::string& path);

// Runs `body` on a fresh thread inside the namespace `netns_fd` and waits for it. kPermission
// without CAP_SYS_ADMIN. `body` must not throw.
Status run_in_netns(int netns_fd, const std::function<Status()>& body);

template <typename F, typename R = std::invoke_result_t<F>>
  requires(!std::is_same_v<R, Status>)
R call_in_netns(int netns_fd, F&& body) {
  std::optional<R> result;
  const Status entered = run_in_netns(netns_fd, [&]() -> Status {
    result.emplace(body());
    return {};
  });
  if (!entered) return std::unexpected<Error>(entered.error());
  return std::move(*result);
}

// A socket made inside the namespace, close-on-exec; it stays there whoever uses it. netns_fd < 0:
// here.
Result<UniqueFd> socket_in_netns(int netns_fd, int domain, int type, int protocol);

}  // namespace perdure::network
