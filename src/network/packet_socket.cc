#include "network/packet_socket.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <format>
#include <vector>

#include "io/poll.h"

namespace perdure::network {
namespace {

// More than the receive buffer holds; whoever floods faster than we read does not stop us.
constexpr int kQueuedFrames = 4096;

Result<unsigned> index_of(const std::string& interface) {
  const unsigned index = ::if_nametoindex(interface.c_str());
  if (index == 0)
    return fail(ErrorCode::kNotFound, std::format("there is no link '{}'", interface));
  return index;
}

Result<UniqueFd> open_packet_socket(const std::string& interface) {
  // Protocol 0: it hears nothing until it is bound, so the filter is there first.
  UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(std::format("open packet socket on link '{}'", interface));
  return fd;
}

Status bind_to(int fd, const std::string& interface, std::uint16_t protocol) {
  PERDURE_ASSIGN(const unsigned index, index_of(interface));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(protocol);
  address.sll_ifindex = static_cast<int>(index);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno(std::format("bind packet socket to link '{}'", interface));
  }
  return {};
}

sock_filter statement(unsigned code, std::uint32_t k) {
  return sock_filter{static_cast<std::uint16_t>(code), 0, 0, k};
}
sock_filter jump(unsigned code, std::uint32_t k, std::uint8_t yes, std::uint8_t no) {
  return sock_filter{static_cast<std::uint16_t>(code), yes, no, k};
}

// For each kind: type equal? then (protocol equal?) accept.
Status attach_filter(int fd, std::span<const PacketKind> kinds) {
  std::vector<sock_filter> program;
  const auto accept_type = [&](std::uint32_t type) {
    program.push_back(statement(BPF_LD | BPF_H | BPF_ABS, 12));
    program.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, type, 0, 1));
    program.push_back(statement(BPF_RET | BPF_K, kSnapBytes));
  };
  const auto accept_protocol = [&](std::uint32_t type, std::uint32_t at, std::uint32_t protocol) {
    program.push_back(statement(BPF_LD | BPF_H | BPF_ABS, 12));
    program.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, type, 0, 3));
    program.push_back(statement(BPF_LD | BPF_B | BPF_ABS, at));
    program.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, protocol, 0, 1));
    program.push_back(statement(BPF_RET | BPF_K, kSnapBytes));
  };
  for (const PacketKind kind : kinds) {
    if (kind == PacketKind::kArp) accept_type(kEtherTypeArp);
    if (kind == PacketKind::kNeighbour) accept_protocol(kEtherTypeIpv6, 20, IPPROTO_ICMPV6);
    if (kind == PacketKind::kTcp) {
      accept_protocol(kEtherTypeIpv4, 23, IPPROTO_TCP);
      accept_protocol(kEtherTypeIpv6, 20, IPPROTO_TCP);
    }
  }
  program.push_back(statement(BPF_RET | BPF_K, 0));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
    return fail_errno("attach filter to packet socket");
  }
  return {};
}

}  // namespace

Result<PacketSocket> PacketSocket::open_sender(const std::string& interface) {
  PERDURE_ASSIGN(UniqueFd fd, open_packet_socket(interface));
  PERDURE_TRY(bind_to(fd.get(), interface, 0));
  return PacketSocket(std::move(fd), interface);
}

Result<PacketSocket> PacketSocket::open_listener(const std::string& interface,
                                                 std::span<const PacketKind> kinds) {
  PERDURE_ASSIGN(UniqueFd fd, open_packet_socket(interface));
  PERDURE_TRY(attach_filter(fd.get(), kinds));
  PERDURE_TRY(bind_to(fd.get(), interface, ETH_P_ALL));
  return PacketSocket(std::move(fd), interface);
}

Status PacketSocket::send(FrameView frame) {
  while (true) {
    if (::send(fd_.get(), frame.data(), frame.size(), 0) >= 0) return {};
    if (errno == EINTR) continue;
    return fail_errno(
        std::format("send a frame of {} bytes on link '{}'", frame.size(), interface_));
  }
}

Status PacketSocket::drain() {
  for (int i = 0; i < kQueuedFrames; ++i) {
    PERDURE_ASSIGN(const auto frame, receive(Instant{}));
    if (!frame) return {};
  }
  return {};
}

Result<std::optional<FrameView>> PacketSocket::receive(Instant deadline) {
  while (true) {
    const ssize_t got = ::recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
    if (got >= 0) return FrameView(buffer_.data(), static_cast<std::size_t>(got));
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return fail_errno(std::format("receive frames on link '{}'", interface_));
    PERDURE_ASSIGN(const bool ready, io::wait_for_descriptor(fd_.get(), POLLIN, deadline));
    if (!ready) return std::optional<FrameView>();
  }
}

}  // namespace perdure::network
