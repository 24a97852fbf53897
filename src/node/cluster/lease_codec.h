// Heartbeats and grants <-> the contents of datagrams (proto/lease.proto). What comes from a peer is checked here, once.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "pki/sealed_channel.h"
#include "policy/lease_messages.h"

namespace perdure::node {

inline constexpr std::size_t kMaxLeaseContentBytes = pki::kMaxChannelContentBytes;
// Of the longest message without its rows: the fields of a heartbeat, and the tag and length of the message itself. The same for
// a grant, though it needs less: so the grant that answers a datagram fits into one, too.
inline constexpr std::size_t kMaxLeaseHeaderBytes = 3 + 9 + 3 * 11;
// The smallest row has 7 bytes: a name of one character, a term below 128. Fifteen of the largest fit, sixty of everyday ones.
inline constexpr std::size_t kMaxLeaseRows = (kMaxLeaseContentBytes - kMaxLeaseHeaderBytes) / 7;

// One content each, at most kMaxLeaseContentBytes; at least one, also without rows. What the reader would refuse (no incarnation,
// a grant out of bounds, a term of 0) is a bug of the caller.
std::vector<std::string> to_datagrams(const policy::lease::Heartbeat& heartbeat);
std::vector<std::string> to_datagrams(const policy::lease::Grant& grant);

using LeaseMessage = std::variant<policy::lease::Heartbeat, policy::lease::Grant>;

// `from`: whose channel opened it. Whether the incarnation in it is the one the caller knows is for the caller to compare.
// kInvalid names the field; a grant is more than nothing and at most policy::lease::kLongestGrant.
Result<LeaseMessage> lease_message_from(std::span<const std::byte> content, const NodeName& from);

}  // namespace perdure::node
