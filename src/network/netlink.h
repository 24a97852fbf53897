// Private to the room: one netlink socket and the messages it sends, on libmnl.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/netlink.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "network/address.h"

namespace perdure::network {

// How long the kernel may take for one answer. It answers within milliseconds; a host under memory
// pressure needs longer.
inline constexpr Duration kNetlinkDeadline = std::chrono::seconds(2);

// One request, built front to back. Attributes beyond the buffer are our own bug.
class NetlinkMessage {
 public:
  NetlinkMessage(std::uint16_t type, std::uint16_t flags);

  template <typename T>
  T& extra_header() {
    return *static_cast<T*>(mnl_nlmsg_put_extra_header(header(), sizeof(T)));
  }
  void put(std::uint16_t type, const void* data, std::size_t size);
  void put_u8(std::uint16_t type, std::uint8_t value) { put(type, &value, sizeof value); }
  void put_u16(std::uint16_t type, std::uint16_t value) { put(type, &value, sizeof value); }
  void put_u32(std::uint16_t type, std::uint32_t value) { put(type, &value, sizeof value); }
  void put_string(std::uint16_t type, std::string_view text);
  void put_mac(std::uint16_t type, const MacAddress& mac) {
    put(type, mac.bytes.data(), mac.bytes.size());
  }
  void put_ip(std::uint16_t type, const IpAddress& ip) { put(type, ip.bytes.data(), ip.size()); }
  nlattr* begin_nested(std::uint16_t type) { return mnl_attr_nest_start(header(), type); }
  void end_nested(nlattr* nested) { mnl_attr_nest_end(header(), nested); }

  nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(buffer_.data()); }

 private:
  alignas(8) std::array<std::byte, 8192> buffer_{};
};

// An error of the kernel: what was asked, its explanation (extended acknowledgement), strerror.
// ENODEV, ENXIO, EADDRNOTAVAIL, ESRCH, ENETUNREACH, EHOSTUNREACH -> kNotFound; EOPNOTSUPP,
// EAFNOSUPPORT -> kUnsupported; EBUSY -> kConflict; otherwise as Error::from_errno.
Error netlink_error(std::string_view what, int error_number, std::string_view explanation);

class NetlinkSocket {
 public:
  static Result<NetlinkSocket> open(int netns_fd, int protocol);

  // Sends and reads until the acknowledgement or the end of the dump; `handler` sees every message
  // in between and may be called again from the start when the kernel interrupts a dump.
  using Handler = std::function<void(const nlmsghdr*)>;
  Status transact(NetlinkMessage& message, std::string_view what, const Handler& handler = {},
                  const std::function<void()>& restart = {});

  Status join(unsigned group);  // a multicast group
  int fd() const { return fd_.get(); }

 private:
  explicit NetlinkSocket(UniqueFd fd) : fd_(std::move(fd)) {}
  enum class Outcome { kDone, kAgain };
  Result<Outcome> attempt(NetlinkMessage& message, std::string_view what, const Handler& handler);

  UniqueFd fd_;
  std::uint32_t sequence_ = 0;
};

// Waits until `condition` holds, looking again at every message of a multicast group of the
// namespace that `socket` is in. False: it did not within `at_most`.
Result<bool> wait_for_change(const NetlinkSocket& socket, unsigned group, Duration at_most,
                             const std::function<Result<bool>()>& condition);

// visit(type, attribute) for the attributes of a stretch of a message, in any order.
template <typename Visitor>
void for_each_attribute_in(const void* begin, std::size_t size, Visitor&& visit) {
  const auto* attribute = static_cast<const nlattr*>(begin);
  int left = static_cast<int>(size);
  while (mnl_attr_ok(attribute, left)) {
    visit(mnl_attr_get_type(attribute), attribute);
    left -= static_cast<int>(MNL_ALIGN(attribute->nla_len));
    attribute = mnl_attr_next(attribute);
  }
}
template <typename Visitor>
void for_each_attribute(const nlmsghdr* message, std::size_t header_size, Visitor&& visit) {
  const std::size_t size = mnl_nlmsg_get_payload_len(message);
  if (size < MNL_ALIGN(header_size)) return;
  for_each_attribute_in(mnl_nlmsg_get_payload_offset(message, header_size),
                        size - MNL_ALIGN(header_size), visit);
}
template <typename Visitor>
void for_each_nested(const nlattr* nested, Visitor&& visit) {
  for_each_attribute_in(mnl_attr_get_payload(nested), mnl_attr_get_payload_len(nested), visit);
}
std::uint32_t attribute_u32(const nlattr* attribute);  // 0 if it is too short
std::string attribute_string(const nlattr* attribute);
MacAddress attribute_mac(const nlattr* attribute);
IpAddress attribute_ip(const nlattr* attribute);  // by its length: 4 or 16

}  // namespace perdure::network
