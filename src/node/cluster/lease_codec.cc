#include "node/cluster/lease_codec.h"

#include <cstdint>
#include <format>
#include <utility>

#include "base/assert.h"
#include "lease.pb.h"
#include "policy/lease_timing.h"

namespace perdure::node {
namespace {

namespace l1 = perdure::lease::v1;
namespace lease = policy::lease;

// Tag and length of a row within its message.
constexpr std::size_t kRowFrameBytes = 2;

std::uint64_t nanoseconds_of(Duration grant) {
  PERDURE_ASSERT(grant > Duration::zero() && grant <= lease::kLongestGrant);
  return static_cast<std::uint64_t>(grant.count());
}

std::uint64_t checked(Incarnation incarnation) {
  PERDURE_ASSERT(incarnation.value != 0);
  return incarnation.value;
}

void fill(l1::Heartbeat& message, const lease::Heartbeat& heartbeat) {
  message.set_incarnation(checked(heartbeat.from.incarnation));
  message.set_sequence(heartbeat.sequence);
  message.set_answered(heartbeat.answered);
  message.set_grant_ns(nanoseconds_of(heartbeat.grant));
}

void fill(l1::Grant& message, const lease::Grant& grant) {
  message.set_incarnation(checked(grant.from.incarnation));
  message.set_owner_incarnation(checked(grant.to));
  message.set_sequence(grant.sequence);
  message.set_grant_ns(nanoseconds_of(grant.grant));
}

l1::Heartbeat& body_of(l1::Datagram& datagram, const lease::Heartbeat&) { return *datagram.mutable_heartbeat(); }
l1::Grant& body_of(l1::Datagram& datagram, const lease::Grant&) { return *datagram.mutable_grant(); }

template <typename Value>
std::vector<std::string> split(const Value& value) {
  std::vector<std::string> contents;
  l1::Datagram datagram;
  auto& message = body_of(datagram, value);
  fill(message, value);
  const auto finish = [&] {
    contents.push_back(datagram.SerializeAsString());
    PERDURE_ASSERT(contents.back().size() <= kMaxLeaseContentBytes);
  };
  std::size_t size = kMaxLeaseHeaderBytes;
  for (const lease::Row& row : value.rows) {
    PERDURE_ASSERT(row.term.value != 0);
    l1::Row next;
    next.set_container(row.container.str());
    next.set_term(row.term.value);
    next.set_former_given_back(row.former_given_back);
    const std::size_t bytes = kRowFrameBytes + next.ByteSizeLong();
    if (size + bytes > kMaxLeaseContentBytes) {
      finish();
      message.clear_rows();
      size = kMaxLeaseHeaderBytes;
    }
    size += bytes;
    *message.add_rows() = std::move(next);
  }
  finish();
  return contents;
}

Result<Incarnation> incarnation_from(std::uint64_t value, std::string_view whose) {
  if (value == 0) return fail(ErrorCode::kInvalid, std::format("no {}", whose));
  return Incarnation{value};
}

Result<Duration> grant_from(std::uint64_t nanoseconds) {
  if (nanoseconds == 0) return fail(ErrorCode::kInvalid, "a grant of no time");
  if (nanoseconds > static_cast<std::uint64_t>(lease::kLongestGrant.count())) {
    return fail(ErrorCode::kInvalid,
                std::format("a grant of {} ns, longer than {}", nanoseconds, format_duration(lease::kLongestGrant)));
  }
  return Duration(nanoseconds);
}

Result<std::vector<lease::Row>> rows_from(const google::protobuf::RepeatedPtrField<l1::Row>& messages) {
  if (static_cast<std::size_t>(messages.size()) > kMaxLeaseRows) {
    return fail(ErrorCode::kInvalid, std::format("{} containers, at most {} fit", messages.size(), kMaxLeaseRows));
  }
  std::vector<lease::Row> rows;
  rows.reserve(static_cast<std::size_t>(messages.size()));
  for (const l1::Row& message : messages) {
    PERDURE_ASSIGN(auto container, ContainerName::parse(message.container()));
    if (message.term() == 0) {
      return fail(ErrorCode::kInvalid, std::format("container '{}': no term", container.str()));
    }
    rows.push_back({std::move(container), Term{message.term()}, message.former_given_back()});
  }
  return rows;
}

Result<LeaseMessage> heartbeat_from(const l1::Heartbeat& message, const NodeName& from) {
  PERDURE_ASSIGN(const Incarnation incarnation, incarnation_from(message.incarnation(), "incarnation"));
  PERDURE_ASSIGN(const Duration grant, grant_from(message.grant_ns()));
  PERDURE_ASSIGN(auto rows, rows_from(message.rows()));
  return lease::Heartbeat{.from = {from, incarnation},
                          .sequence = message.sequence(),
                          .grant = grant,
                          .answered = message.answered(),
                          .rows = std::move(rows)};
}

Result<LeaseMessage> grant_message_from(const l1::Grant& message, const NodeName& from) {
  PERDURE_ASSIGN(const Incarnation incarnation, incarnation_from(message.incarnation(), "incarnation"));
  PERDURE_ASSIGN(const Incarnation to, incarnation_from(message.owner_incarnation(), "incarnation of the owner"));
  PERDURE_ASSIGN(const Duration grant, grant_from(message.grant_ns()));
  PERDURE_ASSIGN(auto rows, rows_from(message.rows()));
  return lease::Grant{
      .from = {from, incarnation}, .to = to, .sequence = message.sequence(), .grant = grant, .rows = std::move(rows)};
}

Result<LeaseMessage> message_from(const l1::Datagram& datagram, const NodeName& from) {
  switch (datagram.body_case()) {
    case l1::Datagram::kHeartbeat: return heartbeat_from(datagram.heartbeat(), from);
    case l1::Datagram::kGrant: return grant_message_from(datagram.grant(), from);
    case l1::Datagram::BODY_NOT_SET: break;
  }
  return fail(ErrorCode::kInvalid, "neither a heartbeat nor a grant; is the peer newer?");
}

}  // namespace

std::vector<std::string> to_datagrams(const lease::Heartbeat& heartbeat) { return split(heartbeat); }
std::vector<std::string> to_datagrams(const lease::Grant& grant) { return split(grant); }

Result<LeaseMessage> lease_message_from(std::span<const std::byte> content, const NodeName& from) {
  const auto context = [&] { return std::format("datagram of node '{}'", from.str()); };
  l1::Datagram datagram;
  if (content.size() > kMaxLeaseContentBytes) {
    return fail(ErrorCode::kInvalid, std::format("{}: has {} bytes", context(), content.size()));
  }
  if (!datagram.ParseFromArray(content.data(), static_cast<int>(content.size()))) {
    return fail(ErrorCode::kInvalid, std::format("{}: cannot be read", context()));
  }
  auto message = message_from(datagram, from);
  if (!message) return fail(std::move(message).error().context(context()));
  return message;
}

}  // namespace perdure::node
