#include "network/netlink.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>
#include <vector>

#include "base/assert.h"
#include "io/poll.h"
#include "network/netns.h"

namespace perdure::network {
namespace {

// What one read can return at most: the kernel sends dumps in parts of at most 32 KiB.
constexpr std::size_t kReadBytes = 64 << 10;
// An interrupted or overrun dump is asked again this often; a table that changes faster is
// nobody's.
constexpr int kAttempts = 8;

std::string explanation_of(const nlmsghdr* reply) {
  if (!(reply->nlmsg_flags & NLM_F_ACK_TLVS)) return {};
  const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(reply));
  std::size_t skip = sizeof(*error);
  if (!(reply->nlmsg_flags & NLM_F_CAPPED))
    skip += MNL_ALIGN(error->msg.nlmsg_len) - sizeof(nlmsghdr);
  std::string text;
  for_each_attribute(reply, skip, [&](std::uint16_t type, const nlattr* attribute) {
    if (type == NLMSGERR_ATTR_MSG) text = attribute_string(attribute);
  });
  return text;
}

}  // namespace

NetlinkMessage::NetlinkMessage(std::uint16_t type, std::uint16_t flags) {
  nlmsghdr* message = mnl_nlmsg_put_header(buffer_.data());
  message->nlmsg_type = type;
  message->nlmsg_flags = std::uint16_t(NLM_F_REQUEST | flags);
}

void NetlinkMessage::put(std::uint16_t type, const void* data, std::size_t size) {
  PERDURE_ASSERT(mnl_attr_put_check(header(), buffer_.size(), type, size, data));
}

void NetlinkMessage::put_string(std::uint16_t type, std::string_view text) {
  const std::string terminated(text);
  put(type, terminated.c_str(), terminated.size() + 1);
}

Error netlink_error(std::string_view what, int error_number, std::string_view explanation) {
  const std::string text =
      explanation.empty() ? std::string(what) : std::format("{}: {}", what, explanation);
  const auto with = [&](ErrorCode code) {
    return Error(code, std::format("{}: {}", text, std::strerror(error_number)));
  };
  switch (error_number) {
    case ENODEV:
    case ENXIO:
    case EADDRNOTAVAIL:
    case ESRCH:
    case ENETUNREACH:
    case EHOSTUNREACH:
      return with(ErrorCode::kNotFound);
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
      return with(ErrorCode::kUnsupported);
    case EBUSY:
      return with(ErrorCode::kConflict);
    default:
      return Error::from_errno(text, error_number);
  }
}

Result<NetlinkSocket> NetlinkSocket::open(int netns_fd, int protocol) {
  PERDURE_ASSIGN(UniqueFd fd, socket_in_netns(netns_fd, AF_NETLINK, SOCK_RAW, protocol));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno("bind netlink socket");
  }
  const int on = 1;  // both only make errors better to read; older kernels lack them
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return NetlinkSocket(std::move(fd));
}

Status NetlinkSocket::join(unsigned group) {
  const int number = static_cast<int>(group);
  if (::setsockopt(fd_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &number, sizeof number) != 0) {
    return fail_errno(std::format("join netlink group {}", group));
  }
  return {};
}

Status NetlinkSocket::transact(NetlinkMessage& message, std::string_view what,
                               const Handler& handler, const std::function<void()>& restart) {
  for (int i = 0; i < kAttempts; ++i) {
    if (i > 0 && restart) restart();
    PERDURE_ASSIGN(const Outcome outcome, attempt(message, what, handler));
    if (outcome == Outcome::kDone) return {};
  }
  return fail(ErrorCode::kTransient,
              std::format("{}: the kernel's table changes too fast to be read", what));
}

Result<NetlinkSocket::Outcome> NetlinkSocket::attempt(NetlinkMessage& message,
                                                      std::string_view what,
                                                      const Handler& handler) {
  nlmsghdr* header = message.header();
  const bool dump = (header->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  if (!dump) header->nlmsg_flags |= NLM_F_ACK;
  header->nlmsg_seq = ++sequence_;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(fd_.get(), header, header->nlmsg_len, 0, reinterpret_cast<sockaddr*>(&kernel),
               sizeof kernel) < 0) {
    return fail_errno(std::format("{}: send to netlink", what));
  }
  std::vector<std::byte> buffer(kReadBytes);
  const Instant deadline = BootClock::now() + kNetlinkDeadline;
  bool interrupted = false;
  while (true) {
    PERDURE_ASSIGN(const bool ready, io::wait_for_descriptor(fd_.get(), POLLIN, deadline));
    if (!ready) {
      return fail(ErrorCode::kTimeout, std::format("{}: no answer from the kernel in {}", what,
                                                   format_duration(kNetlinkDeadline)));
    }
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == ENOBUFS) return Outcome::kAgain;  // something was lost: ask again
    if (got < 0) return fail_errno(std::format("{}: read from netlink", what));
    int left_bytes = static_cast<int>(got);
    const auto* reply = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; mnl_nlmsg_ok(reply, left_bytes); reply = mnl_nlmsg_next(reply, &left_bytes)) {
      if (reply->nlmsg_seq != sequence_)
        continue;  // of an attempt that was given up, or a notification
      if (reply->nlmsg_flags & NLM_F_DUMP_INTR) interrupted = true;
      if (reply->nlmsg_type == NLMSG_DONE) return interrupted ? Outcome::kAgain : Outcome::kDone;
      if (reply->nlmsg_type == NLMSG_ERROR) {
        const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(reply));
        if (error->error == 0) return Outcome::kDone;
        return fail(netlink_error(what, -error->error, explanation_of(reply)));
      }
      if (handler) handler(reply);
    }
  }
}

Result<bool> wait_for_change(const NetlinkSocket& socket, unsigned group, Duration at_most,
                             const std::function<Result<bool>()>& condition) {
  const Instant deadline = BootClock::now() + at_most;
  // Listen first, look second: no change falls between.
  const UniqueFd netns(::ioctl(socket.fd(), SIOCGSKNS));
  if (!netns) return fail_errno("find the namespace of a netlink socket");
  PERDURE_ASSIGN(auto monitor, NetlinkSocket::open(netns.get(), NETLINK_ROUTE));
  PERDURE_TRY(monitor.join(group));
  while (true) {
    PERDURE_ASSIGN(const bool holds, condition());
    if (holds || BootClock::now() >= deadline) return holds;
    (void)io::wait_for_descriptor(monitor.fd(), POLLIN, deadline);
    char ignored[4096];  // what it says is not read; an overrun is a change as well
    while (::recv(monitor.fd(), ignored, sizeof ignored, MSG_DONTWAIT) > 0) {
    }
  }
}

std::uint32_t attribute_u32(const nlattr* attribute) {
  return mnl_attr_get_payload_len(attribute) >= sizeof(std::uint32_t) ? mnl_attr_get_u32(attribute)
                                                                      : 0;
}

std::string attribute_string(const nlattr* attribute) {
  const auto* text = static_cast<const char*>(mnl_attr_get_payload(attribute));
  return std::string(text, ::strnlen(text, mnl_attr_get_payload_len(attribute)));
}

MacAddress attribute_mac(const nlattr* attribute) {
  MacAddress mac;
  if (mnl_attr_get_payload_len(attribute) == mac.bytes.size()) {
    std::memcpy(mac.bytes.data(), mnl_attr_get_payload(attribute), mac.bytes.size());
  }
  return mac;
}

IpAddress attribute_ip(const nlattr* attribute) {
  IpAddress ip;
  const std::size_t size = mnl_attr_get_payload_len(attribute);
  if (size == 16) ip.family = IpFamily::kV6;
  if (size == 4 || size == 16) std::memcpy(ip.bytes.data(), mnl_attr_get_payload(attribute), size);
  return ip;
}

}  // namespace perdure::network
