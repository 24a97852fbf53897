// Proves that heartbeats and grants come back from datagrams as they were, that what does not fit into one is split without a
// row lost or doubled, and that what no node would send is refused by name.
#include "node/cluster/lease_codec.h"

#include <algorithm>
#include <format>
#include <functional>

#include "gmock/gmock.h"
#include "lease.pb.h"
#include "policy/lease_timing.h"

namespace perdure::node {
namespace {

using testing::HasSubstr;
namespace lease = policy::lease;
namespace l1 = perdure::lease::v1;

const NodeName kPeer = NodeName::parse("b").value();
constexpr Duration kGrant = std::chrono::milliseconds(250);
constexpr std::uint64_t kLargest = ~std::uint64_t{0};

lease::Row row(std::string_view name, std::uint64_t term) { return {ContainerName::parse(name).value(), Term{term}}; }

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

lease::Heartbeat heartbeat(std::vector<lease::Row> rows) {
  return {.from = {kPeer, Incarnation{7}}, .sequence = 42, .grant = kGrant, .rows = std::move(rows)};
}

lease::Grant grant(std::vector<lease::Row> rows) {
  return {.from = {kPeer, Incarnation{7}}, .to = Incarnation{9}, .sequence = 42, .grant = kGrant, .rows = std::move(rows)};
}

template <typename Value>
Value read(const std::string& content) {
  EXPECT_LE(content.size(), kMaxLeaseContentBytes);
  return std::get<Value>(lease_message_from(bytes_of(content), kPeer).value());
}

TEST(LeaseCodecTest, AHeartbeatComesBack) {
  const auto sent = heartbeat({row("web", 3), row("db", kLargest)});
  const auto contents = to_datagrams(sent);
  ASSERT_EQ(contents.size(), 1u);
  const auto got = read<lease::Heartbeat>(contents[0]);
  EXPECT_EQ(got, sent);
}

TEST(LeaseCodecTest, WhatIsGivenBackIsSaidOfEachContainer) {
  auto sent = heartbeat({row("web", 3), row("db", 4)});
  sent.rows[1].former_given_back = true;
  EXPECT_EQ(read<lease::Heartbeat>(to_datagrams(sent).at(0)).rows, sent.rows);
}

TEST(LeaseCodecTest, AGrantComesBack) {
  const auto sent = grant({row("web", 3)});
  const auto contents = to_datagrams(sent);
  ASSERT_EQ(contents.size(), 1u);
  const auto got = read<lease::Grant>(contents[0]);
  EXPECT_EQ(got, sent);
}

TEST(LeaseCodecTest, WithoutContainersThereIsADatagramAsWell) {
  EXPECT_EQ(to_datagrams(heartbeat({})).size(), 1u);
  EXPECT_TRUE(read<lease::Grant>(to_datagrams(grant({})).at(0)).rows.empty());
}

TEST(LeaseCodecTest, FortyEverydayContainersFitIntoOneDatagram) {
  std::vector<lease::Row> rows;
  for (int i = 0; i < 40; ++i) rows.push_back(row(std::format("shop-frontend-{}", i), 1000));
  EXPECT_EQ(to_datagrams(heartbeat(rows)).size(), 1u);
  EXPECT_EQ(to_datagrams(grant(rows)).size(), 1u);
}

// Names of every length, numbers of every size: the bounds hold for the largest, too.
TEST(LeaseCodecTest, WhatDoesNotFitIsSplitWithoutLoss) {
  std::vector<lease::Row> rows;
  for (std::size_t i = 0; i < 1000; ++i) {
    const std::string number = std::to_string(i);
    const std::size_t length = std::max(number.size(), i % 63 + 1);
    rows.push_back(row(std::string(length - number.size(), 'x') + number, i % 3 == 0 ? kLargest : i + 1));
  }
  auto sent = grant(rows);
  sent.from.incarnation = sent.to = Incarnation{kLargest};
  sent.sequence = kLargest;
  sent.grant = lease::kLongestGrant;
  const auto contents = to_datagrams(sent);
  EXPECT_GT(contents.size(), 20u);
  std::vector<lease::Row> got;
  for (const std::string& content : contents) {
    const auto part = read<lease::Grant>(content);
    EXPECT_EQ(part.sequence, kLargest);
    EXPECT_FALSE(part.rows.empty());
    got.insert(got.end(), part.rows.begin(), part.rows.end());
  }
  EXPECT_EQ(got, rows);
}

TEST(LeaseCodecTest, AsManyRowsAsCanBeFitAndAreRead) {
  const std::vector<lease::Row> rows(kMaxLeaseRows, row("a", 1));
  for (const auto& contents : {to_datagrams(heartbeat(rows)), to_datagrams(grant(rows))}) EXPECT_EQ(contents.size(), 1u);
  EXPECT_EQ(read<lease::Heartbeat>(to_datagrams(heartbeat(rows)).at(0)).rows, rows);
}

// The answer to one datagram is one datagram.
TEST(LeaseCodecTest, AGrantIsCutWhereItsHeartbeatIs) {
  for (std::size_t length = 1; length <= 63; ++length) {
    const std::vector<lease::Row> rows(300, row(std::string(length, 'x'), kLargest));
    const auto asked = to_datagrams(heartbeat(rows));
    const auto answered = to_datagrams(grant(rows));
    ASSERT_EQ(asked.size(), answered.size());
    for (std::size_t i = 0; i < asked.size(); ++i) {
      EXPECT_EQ(read<lease::Heartbeat>(asked[i]).rows.size(), read<lease::Grant>(answered[i]).rows.size());
    }
  }
}

l1::Datagram valid_heartbeat() {
  l1::Datagram datagram;
  datagram.ParseFromString(to_datagrams(heartbeat({row("web", 3)})).at(0));
  return datagram;
}
l1::Datagram valid_grant() {
  l1::Datagram datagram;
  datagram.ParseFromString(to_datagrams(grant({row("web", 3)})).at(0));
  return datagram;
}

std::string refusal(l1::Datagram datagram, const std::function<void(l1::Datagram&)>& spoil) {
  spoil(datagram);
  const auto message = lease_message_from(bytes_of(datagram.SerializeAsString()), kPeer);
  if (message) return "accepted";
  EXPECT_EQ(message.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(message.error().message(), HasSubstr("datagram of node 'b': "));
  return message.error().message();
}

TEST(LeaseCodecTest, WhatNoNodeWouldSendIsRefusedByName) {
  EXPECT_EQ(refusal(valid_heartbeat(), [](l1::Datagram&) {}), "accepted");
  const std::vector<std::pair<std::function<void(l1::Datagram&)>, std::string>> of_heartbeats{
      {[](auto& d) { d.clear_body(); }, "neither a heartbeat nor a grant"},
      {[](auto& d) { d.mutable_heartbeat()->set_incarnation(0); }, "no incarnation"},
      {[](auto& d) { d.mutable_heartbeat()->set_grant_ns(0); }, "a grant of no time"},
      {[](auto& d) { d.mutable_heartbeat()->set_grant_ns(kLargest); }, "longer than 5 min 0 s"},
      {[](auto& d) { d.mutable_heartbeat()->mutable_rows(0)->set_term(0); }, "container 'web': no term"},
      {[](auto& d) { d.mutable_heartbeat()->mutable_rows(0)->set_container("../etc"); }, "../etc"},
      {[](auto& d) { d.mutable_heartbeat()->mutable_rows(0)->clear_container(); }, "name"},
      {[](auto& d) { d.mutable_heartbeat()->mutable_rows(0)->set_container(std::string(2000, 'x')); }, "bytes"},
      {[](auto& d) {
         for (std::size_t i = 0; i <= kMaxLeaseRows; ++i) d.mutable_heartbeat()->add_rows()->set_term(1);
       },
       "containers, at most"},
  };
  for (const auto& [spoil, why] : of_heartbeats) EXPECT_THAT(refusal(valid_heartbeat(), spoil), HasSubstr(why));
  const std::vector<std::pair<std::function<void(l1::Datagram&)>, std::string>> of_grants{
      {[](auto& d) { d.mutable_grant()->set_incarnation(0); }, "no incarnation"},
      {[](auto& d) { d.mutable_grant()->set_owner_incarnation(0); }, "no incarnation of the owner"},
      {[](auto& d) { d.mutable_grant()->set_grant_ns(0); }, "a grant of no time"},
      {[](auto& d) { d.mutable_grant()->mutable_rows(0)->set_term(0); }, "container 'web': no term"},
  };
  for (const auto& [spoil, why] : of_grants) EXPECT_THAT(refusal(valid_grant(), spoil), HasSubstr(why));
}

TEST(LeaseCodecTest, WhatIsNoMessageIsRefused) {
  const auto message = lease_message_from(bytes_of("\xff\xff\xff"), kPeer);
  ASSERT_FALSE(message);
  EXPECT_EQ(message.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(message.error().message(), HasSubstr("cannot be read"));
}

// A newer peer may say more: what is not known is left out.
TEST(LeaseCodecTest, UnknownFieldsAreLeftOut) {
  const std::string content = to_datagrams(heartbeat({row("web", 3)})).at(0) + "\xf8\x01\x01";
  EXPECT_EQ(read<lease::Heartbeat>(content).rows.size(), 1u);
}

}  // namespace
}  // namespace perdure::node
