#include "node/agent_link.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <format>

#include "agent/abstract_address.h"
#include "base/log.h"
#include "network/netns.h"
#include "image/agent_configuration.h"

namespace perdure::node {
namespace {

// More than an agent sends between two turns of the loop; whoever floods the socket waits for the next turn.
constexpr int kDatagramsPerTurn = 64;

struct Datagram {
  std::string text;
  pid_t sender = -1;
};

// nullopt: there is none.
std::optional<Datagram> receive(int fd) {
  Datagram datagram;
  datagram.text.resize(agent::kMaxReportBytes + 1);
  iovec part{datagram.text.data(), datagram.text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return std::nullopt;
  datagram.text.resize(static_cast<std::size_t>(got));
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
    ucred credentials{};
    std::memcpy(&credentials, CMSG_DATA(header), sizeof credentials);
    datagram.sender = credentials.pid;
  }
  return datagram;
}

}  // namespace

Result<UniqueFd> open_agent_socket(int netns_fd) {
  PERDURE_ASSIGN(UniqueFd socket, network::socket_in_netns(netns_fd, AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) return fail_errno("socket for the agent's reports");
  const agent::AbstractAddress address(image::kAgentReportsTo);
  if (::bind(socket.get(), address.get(), address.size()) != 0) {
    if (errno != EADDRINUSE) return fail_errno("address for the agent's reports");
    return fail(ErrorCode::kExists, std::format("a process of the container has taken the abstract address '{}', which its "
                                                "agent reports to",
                                                image::kAgentReportsTo));
  }
  return socket;
}

Result<AgentLink> AgentLink::open(io::Loop& loop, UniqueFd socket, Handler handler) {
  auto state = std::make_unique<State>();
  state->socket = std::move(socket);
  state->handler = std::move(handler);
  PERDURE_ASSIGN(io::Watch watch, loop.watch_readable(state->socket.get(), [it = state.get()] { it->drain(); }));
  AgentLink link(std::move(state), std::move(watch));
  link.stop_listening();
  return link;
}

void AgentLink::listen_to(pid_t init) {
  state_->init = init;
  watch_.set_events(POLLIN);
}

void AgentLink::stop_listening() {
  state_->init = -1;
  watch_.set_events(0);
}

void AgentLink::State::drain() {
  if (init <= 0) return;
  for (int i = 0; i < kDatagramsPerTurn; ++i) {
    const auto datagram = receive(socket.get());
    if (!datagram) return;
    if (datagram->sender != init) continue;
    auto report = agent::parse_report(datagram->text);
    if (report.value) {
      handler(*report.value);
    } else if (refused++ == 0) {
      log::warning("process {} reports what is no report: {}", init, report.error);
    }
  }
}

}  // namespace perdure::node
