#include "io/socket_address.h"

#include <grp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <format>

#include "io/unix_socket.h"

namespace perdure::io {

namespace {

// Groups of one user: the kernel's own bound (NGROUPS_MAX).
constexpr std::size_t kMaxGroups = 65536;
constexpr std::size_t kMaxGroupEntryBytes = std::size_t{1} << 20;

}  // namespace

Result<sockaddr_un> socket_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(ErrorCode::kInvalid,
                std::format("socket path '{}' has {} bytes; 1 to {} are possible", path,
                            path.size(), sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

bool PeerCredentials::in_group(gid_t group) const {
  return gid == group || std::ranges::contains(supplementary_groups, group);
}

Result<PeerCredentials> peer_credentials(int socket_fd) {
  ucred kernel{};
  socklen_t size = sizeof kernel;
  if (::getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &kernel, &size) != 0) {
    return fail_errno("read the credentials of a peer");
  }
  PeerCredentials credentials{kernel.pid, kernel.uid, kernel.gid, {}};
  std::vector<gid_t>& groups = credentials.supplementary_groups;
  groups.resize(32);
  for (;;) {
    size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0) break;
    if (errno != ERANGE || size / sizeof(gid_t) > kMaxGroups) {
      return fail_errno("read the groups of a peer");
    }
    groups.resize(size / sizeof(gid_t));
  }
  groups.resize(size / sizeof(gid_t));
  return credentials;
}

Result<gid_t> find_group(const std::string& name) {
  gid_t number = 0;
  const char* const end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data(), end, number);
  if (parsed.ec == std::errc() && parsed.ptr == end) return number;
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(1024);
  int error = ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  while (error == ERANGE && buffer.size() < kMaxGroupEntryBytes) {
    buffer.resize(buffer.size() * 2);
    error = ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  }
  if (found == nullptr) {
    if (error != 0 && error != ENOENT) {
      return fail(Error::from_errno(std::format("look up group '{}'", name), error));
    }
    return fail(ErrorCode::kNotFound,
                std::format("no group '{}'; create it with groupadd --system {}", name, name));
  }
  return entry.gr_gid;
}

}  // namespace perdure::io
