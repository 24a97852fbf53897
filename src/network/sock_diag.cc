// The sockets of a namespace, of tcp_probe.h: NETLINK_SOCK_DIAG.
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <format>
#include <optional>

#include "network/netlink.h"
#include "network/tcp_probe.h"

namespace perdure::network {
namespace {

constexpr std::uint32_t kConnectedStates = 1u << TCP_ESTABLISHED | 1u << TCP_FIN_WAIT1 |
                                           1u << TCP_FIN_WAIT2 | 1u << TCP_CLOSE_WAIT |
                                           1u << TCP_LAST_ACK | 1u << TCP_CLOSING;

constexpr std::uint32_t kAllButListening = 0x1fff & ~(1u << TCP_LISTEN | 1u << TCP_CLOSE | 1u);
// Sockets that one clearing leaves behind were made or changed state meanwhile; with the processes
// dead that ends at once.
constexpr int kClearingRounds = 5;

// IPv4 on an IPv6 socket is IPv4 on the wire.
IpAddress read_address(int family, const __be32 (&words)[4]) {
  constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::array<std::uint8_t, 16> bytes;
  std::memcpy(bytes.data(), words, sizeof words);
  IpAddress address;
  if (family == AF_INET) {
    std::copy_n(bytes.begin(), 4, address.bytes.begin());
  } else if (std::equal(kMapped.begin(), kMapped.end(), bytes.begin())) {
    std::copy_n(bytes.begin() + 12, 4, address.bytes.begin());
  } else {
    address = IpAddress{IpFamily::kV6, bytes};
  }
  return address;
}

bool is_shut_by_peer(unsigned state) { return state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK || state == TCP_CLOSING; }

unsigned read_retransmissions(const nlmsghdr* reply) {
  unsigned retransmissions = 0;
  for_each_attribute(reply, sizeof(inet_diag_msg), [&](std::uint16_t type, const nlattr* attribute) {
    tcp_info info{};
    if (type != INET_DIAG_INFO) return;
    std::memcpy(&info, mnl_attr_get_payload(attribute),
                std::min<std::size_t>(sizeof info, mnl_attr_get_payload_len(attribute)));
    retransmissions = info.tcpi_retransmits;
  });
  return retransmissions;
}

std::optional<TcpSocketInfo> read_info(const nlmsghdr* reply) {
  if (mnl_nlmsg_get_payload_len(reply) < sizeof(inet_diag_msg)) return std::nullopt;
  const auto* entry = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(reply));
  TcpSocketInfo info;
  info.tuple.local = {read_address(entry->idiag_family, entry->id.idiag_src),
                      ntohs(entry->id.idiag_sport)};
  info.tuple.remote = {read_address(entry->idiag_family, entry->id.idiag_dst),
                       ntohs(entry->id.idiag_dport)};
  info.shut_by_peer = is_shut_by_peer(entry->idiag_state);
  info.retransmissions = read_retransmissions(reply);
  info.receive_queue = entry->idiag_rqueue;
  info.send_queue = entry->idiag_wqueue;
  info.inode = entry->idiag_inode;
  std::ranges::copy(entry->id.idiag_cookie, info.cookie.begin());
  return info;
}

void fill_request(NetlinkMessage& message, const TcpTuple& tuple, const SocketCookie& cookie) {
  auto& request = message.extra_header<inet_diag_req_v2>();
  request.sdiag_family = tuple.local.address.is_v4() ? AF_INET : AF_INET6;
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = kAllButListening;
  request.id.idiag_sport = htons(tuple.local.port);
  request.id.idiag_dport = htons(tuple.remote.port);
  std::memcpy(request.id.idiag_src, tuple.local.address.bytes.data(), sizeof request.id.idiag_src);
  std::memcpy(request.id.idiag_dst, tuple.remote.address.bytes.data(), sizeof request.id.idiag_dst);
  std::ranges::copy(cookie, request.id.idiag_cookie);
}

Status destroy(NetlinkSocket& socket, const TcpSocketInfo& info) {
  NetlinkMessage message(SOCK_DESTROY, 0);
  fill_request(message, info.tuple, info.cookie);
  return socket.transact(
      message, std::format("abort connection {} to {}", to_string(info.tuple.local), to_string(info.tuple.remote)));
}

Status list_family(NetlinkSocket& socket, int family, std::uint32_t states,
                   std::vector<TcpSocketInfo>& all) {
  NetlinkMessage message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  auto& request = message.extra_header<inet_diag_req_v2>();
  request.sdiag_family = static_cast<std::uint8_t>(family);
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = states;
  request.idiag_ext = 1 << (INET_DIAG_INFO - 1);
  const std::size_t before = all.size();
  const auto collect = [&](const nlmsghdr* reply) {
    if (auto info = read_info(reply)) all.push_back(*info);
  };
  return socket.transact(message, "list TCP connections", collect, [&] { all.resize(before); });
}

Result<std::vector<TcpSocketInfo>> list_states(int netns_fd, std::uint32_t states) {
  PERDURE_ASSIGN(auto socket, NetlinkSocket::open(netns_fd, NETLINK_SOCK_DIAG));
  std::vector<TcpSocketInfo> all;
  PERDURE_TRY(list_family(socket, AF_INET, states, all));
  if (const auto v6 = list_family(socket, AF_INET6, states, all); !v6) {
    // A kernel without IPv6 has no such sockets.
    if (v6.error().code() != ErrorCode::kNotFound) return fail(v6.error());
  }
  std::ranges::sort(all, {}, &TcpSocketInfo::tuple);
  return all;
}

}  // namespace

Result<std::vector<TcpSocketInfo>> list_established(int netns_fd) {
  return list_states(netns_fd, kConnectedStates);
}

Status clear_connections(int netns_fd) {
  for (int round = 0; round < kClearingRounds; ++round) {
    PERDURE_ASSIGN(const auto left, list_states(netns_fd, kAllButListening));
    if (left.empty()) return {};
    PERDURE_ASSIGN(auto socket, NetlinkSocket::open(netns_fd, NETLINK_SOCK_DIAG));
    for (const TcpSocketInfo& info : left) {
      if (const Status gone = destroy(socket, info); !gone && gone.error().code() != ErrorCode::kNotFound) {
        return gone;
      }
    }
  }
  return fail(ErrorCode::kTransient,
              "TCP connections keep appearing in a network namespace that should be dead");
}

// A connection that is gone is looked up as far as the listener that it came from: only the cookie makes sure
// that the right socket is hit.
Status destroy_socket(int netns_fd, const TcpTuple& tuple) {
  PERDURE_ASSIGN(auto socket, NetlinkSocket::open(netns_fd, NETLINK_SOCK_DIAG));
  const std::string what = std::format("find connection {} to {}", to_string(tuple.local), to_string(tuple.remote));
  NetlinkMessage message(SOCK_DIAG_BY_FAMILY, 0);
  fill_request(message, tuple, {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE});
  std::optional<TcpSocketInfo> found;
  PERDURE_TRY(socket.transact(message, what, [&](const nlmsghdr* reply) { found = read_info(reply); }));
  if (!found || found->tuple != tuple) return fail(ErrorCode::kNotFound, what + ": there is none");
  return destroy(socket, *found);
}

}  // namespace perdure::network
