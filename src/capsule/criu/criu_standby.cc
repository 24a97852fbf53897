#include "capsule/criu/criu_standby.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <format>

#include "capsule/criu/standby_order.h"
#include "io/poll.h"

namespace perdure::capsule {
namespace {

Status send_order(int socket, int cgroup, const std::vector<io::InheritedFd>& inherited) {
  perdure_standby_order order{};
  std::array<int, PERDURE_STANDBY_TARGETS + 1> descriptors{};
  if (inherited.size() > PERDURE_STANDBY_TARGETS) {
    return fail(ErrorCode::kInvalid, std::format("CRIU cannot be given {} descriptors", inherited.size()));
  }
  order.count = static_cast<__u32>(inherited.size());
  descriptors[0] = cgroup;
  for (std::size_t i = 0; i < inherited.size(); ++i) {
    order.targets[i] = inherited[i].target;
    descriptors[i + 1] = inherited[i].fd;
  }
  const std::size_t bytes = sizeof(int) * (inherited.size() + 1);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof descriptors)> control{};
  iovec data{&order, sizeof order};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(bytes);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(bytes);
  std::memcpy(CMSG_DATA(header), descriptors.data(), bytes);
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) < 0) return fail_errno("send its order to the CRIU that waits");
  return {};
}

}  // namespace

Result<CriuStandby> CriuStandby::spawn(const CriuProgram& program, const std::vector<std::string>& arguments,
                                       int network_namespace_fd, const std::vector<std::string>& v1_cgroups) {
  if (program.standby.empty()) return fail(ErrorCode::kUnsupported, "no standby library");
  std::vector<std::string> environment = criu_environment();
  environment.push_back("LD_PRELOAD=" + program.standby);
  environment.push_back(std::format("{}={}", PERDURE_STANDBY_VARIABLE, kCriuSocket));
  PERDURE_ASSIGN(auto criu, spawn_connected_criu(arguments, std::move(environment), network_namespace_fd));
  PERDURE_TRY(enter_cgroups(v1_cgroups, criu.process.pid()));
  return CriuStandby(std::move(criu));
}

Status enter_cgroups(const std::vector<std::string>& directories, pid_t pid) {
  for (const std::string& directory : directories) {
    PERDURE_TRY(write_control_file(directory + "/cgroup.procs", std::to_string(pid)));
  }
  return {};
}

Result<io::ChildProcess> CriuStandby::go(const std::string& v2_cgroup, const std::vector<io::InheritedFd>& inherited,
                                         Instant deadline) {
  PERDURE_ASSIGN(const UniqueFd cgroup, open_file(v2_cgroup, O_RDONLY | O_DIRECTORY));
  PERDURE_TRY(send_order(socket_.get(), cgroup.get(), inherited));
  PERDURE_ASSIGN(const bool ready, io::wait_for_descriptor(socket_.get(), POLLIN, deadline));
  if (!ready) return fail(ErrorCode::kTimeout, "the CRIU that waits does not answer");
  int answer = 0;
  if (::recv(socket_.get(), &answer, sizeof answer, 0) != sizeof answer) {
    return fail(ErrorCode::kIo, "the CRIU that waits has ended");
  }
  if (answer <= 0) {
    errno = -answer;
    return fail_errno(std::format("start CRIU in cgroup '{}'", v2_cgroup));
  }
  return io::ChildProcess::adopt(answer);
}

}  // namespace perdure::capsule
