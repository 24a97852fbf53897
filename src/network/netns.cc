#include "network/netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <format>
#include <iterator>
#include <system_error>
#include <thread>

#include "network/link.h"

namespace perdure::network {
namespace {

// /proc/thread-self and not /proc/self: the latter is the namespace of the main thread.
constexpr const char* kThreadNamespace = "/proc/thread-self/ns/net";

Status run_on_thread(const std::function<Status()>& body) {
  Status status;
  try {
    std::thread([&] { status = body(); }).join();
  } catch (const std::system_error& error) {
    return fail(ErrorCode::kTransient, std::format("start a thread: {}", error.what()));
  }
  return status;
}

// As `ip netns` does it: the pins' directory is a shared mount, so that removing a pin removes it
// in every mount namespace that was copied from this one meanwhile; else such a copy keeps the
// namespace alive.
Status make_shared_directory(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    return fail(Error::from_errno(std::format("create directory '{}'", directory), error.value()));
  if (::mount("", directory.c_str(), "none", MS_SHARED | MS_REC, nullptr) == 0) return {};
  if (errno != EINVAL) return fail_errno(std::format("make '{}' a shared mount", directory));
  if (::mount(directory.c_str(), directory.c_str(), "none", MS_BIND | MS_REC, nullptr) != 0) {
    return fail_errno(std::format("mount '{}' on itself", directory));
  }
  if (::mount("", directory.c_str(), "none", MS_SHARED | MS_REC, nullptr) != 0) {
    return fail_errno(std::format("make '{}' a shared mount", directory));
  }
  return {};
}

bool is_namespace_file(const std::string& path) {
  struct statfs info{};
  return ::statfs(path.c_str(), &info) == 0 && info.f_type == NSFS_MAGIC;
}

Status make_pin_file(const std::string& path) {
  if (is_namespace_file(path)) {
    return fail(ErrorCode::kExists, std::format("network namespace '{}' exists already", path));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return fail_errno(std::format("remove '{}'", path));
  auto file = open_file(path, O_RDONLY | O_CREAT | O_EXCL, 0);
  if (!file) return fail(std::move(file).error());
  return {};
}

// Values of /proc/sys/net/ipv4 in the calling thread's namespace. What an older kernel lacks or a read-only /proc
// refuses is left as it is: these are about speed.
std::string read_tcp_setting(const std::string& name) {
  return read_file("/proc/sys/net/ipv4/" + name).value_or(std::string());
}
bool write_tcp_setting(const std::string& name, const std::string& value) {
  return !value.empty() && write_control_file("/proc/sys/net/ipv4/" + name, value).has_value();
}

// A namespace with a table of TCP connections of its own, as its parent's tcp_child_ehash_entries says (Linux 6.1):
// hence two steps, the host's own setting is not touched. The table that all others share has a bucket for each
// 64 KB of the host's memory, and whoever lists one namespace's connections walks through all of it: CRIU does so
// twice while a container is frozen.
Status unshare_network() {
  constexpr const char* kBuckets = "16384";  // 128 KB; 100,000 connections are 6 in a bucket
  // Derived from the size of the table by the kernel, which is not meant.
  constexpr const char* kDerived[] = {"tcp_max_tw_buckets", "tcp_max_syn_backlog"};
  std::string values[std::size(kDerived)];
  std::ranges::transform(kDerived, values, read_tcp_setting);
  if (::unshare(CLONE_NEWNET) != 0) return fail_errno("unshare");
  if (!write_tcp_setting("tcp_child_ehash_entries", kBuckets)) return {};
  if (::unshare(CLONE_NEWNET) != 0) return fail_errno("unshare");
  for (std::size_t i = 0; i < std::size(kDerived); ++i) write_tcp_setting(kDerived[i], values[i]);
  return {};
}

Status make_namespace_here(const std::string& path) {
  if (Status made = unshare_network(); !made) {
    return fail(std::move(made).error().context(std::format("make network namespace '{}'", path)));
  }
  PERDURE_ASSIGN(auto links, LinkControl::open());
  PERDURE_TRY(links.set_up("lo"));
  if (::mount(kThreadNamespace, path.c_str(), "none", MS_BIND, nullptr) != 0) {
    return fail_errno(std::format("pin network namespace at '{}'", path));
  }
  return {};
}

}  // namespace

Result<NetworkNamespace> NetworkNamespace::create(const std::string& path) {
  const std::filesystem::path where(path);
  if (!where.is_absolute() || !where.has_filename()) {
    return fail(ErrorCode::kInvalid,
                std::format("network namespace '{}' needs an absolute path", path));
  }
  PERDURE_TRY(make_shared_directory(where.parent_path().string()));
  PERDURE_TRY(make_pin_file(path));
  if (auto made = run_on_thread([&] { return make_namespace_here(path); }); !made) {
    ::unlink(path.c_str());
    return fail(std::move(made).error());
  }
  auto opened = open(path);
  if (!opened) {
    (void)delete_netns(path);
    return opened;
  }
  opened->adopt();
  return opened;
}

Result<NetworkNamespace> NetworkNamespace::open(const std::string& path) {
  PERDURE_ASSIGN(UniqueFd fd, open_file(path, O_RDONLY));
  if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return fail(ErrorCode::kInvalid, std::format("'{}' is no network namespace", path));
  }
  return NetworkNamespace(std::move(fd), path, false);
}

Result<NetworkNamespace> NetworkNamespace::current() {
  PERDURE_ASSIGN(UniqueFd fd, open_file(kThreadNamespace, O_RDONLY));
  return NetworkNamespace(std::move(fd), "", false);
}

NetworkNamespace::NetworkNamespace(NetworkNamespace&& other) noexcept
    : fd_(std::move(other.fd_)),
      path_(std::move(other.path_)),
      owns_pin_(std::exchange(other.owns_pin_, false)) {}

NetworkNamespace& NetworkNamespace::operator=(NetworkNamespace&& other) noexcept {
  if (this != &other) {
    (void)remove();
    fd_ = std::move(other.fd_);
    path_ = std::move(other.path_);
    owns_pin_ = std::exchange(other.owns_pin_, false);
  }
  return *this;
}

NetworkNamespace::~NetworkNamespace() {
  (void)remove();
}

Status NetworkNamespace::remove() {
  if (!std::exchange(owns_pin_, false)) return {};
  return delete_netns(path_);
}

Status delete_netns(const std::string& path) {
  if (::umount2(path.c_str(), MNT_DETACH) != 0 && errno != EINVAL && errno != ENOENT) {
    return fail_errno(std::format("unmount network namespace '{}'", path));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return fail_errno(std::format("remove network namespace '{}'", path));
  }
  return {};
}

Status run_in_netns(int netns_fd, const std::function<Status()>& body) {
  return run_on_thread([&]() -> Status {
    if (::setns(netns_fd, CLONE_NEWNET) != 0) return fail_errno("enter network namespace");
    return body();
  });
}

Result<UniqueFd> socket_in_netns(int netns_fd, int domain, int type, int protocol) {
  UniqueFd made;
  const auto make = [&]() -> Status {
    made.reset(::socket(domain, type | SOCK_CLOEXEC, protocol));
    if (!made) return fail_errno(std::format("make socket of domain {}", domain));
    return {};
  };
  PERDURE_TRY(netns_fd < 0 ? make() : run_in_netns(netns_fd, make));
  return made;
}

}  // namespace perdure::network
