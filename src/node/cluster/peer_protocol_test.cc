// Proves which versions of the protocol between nodes talk to each other, from both ends alike, and that what an earlier version has
// put on the wire is read: the bytes below are fixed, whatever this version writes.
#include "node/cluster/peer_protocol.h"

#include <string>

#include "gmock/gmock.h"

namespace perdure::node {
namespace {

using ::testing::HasSubstr;
namespace p1 = peer::v1;

ProtocolEnd end(std::uint32_t oldest, std::uint32_t newest, std::string version = "0.1.0") {
  return {.protocols = {oldest, newest}, .version = std::move(version)};
}

TEST(PeerProtocolTest, TheNewestThatBothSpeak) {
  EXPECT_EQ(agree(end(1, 2), end(1, 2)).value(), 2U);
  EXPECT_EQ(agree(end(2, 3), end(1, 2)).value(), 2U);
  EXPECT_EQ(agree(end(1, 2), end(2, 3)).value(), 2U);
  EXPECT_EQ(agree(end(1, 2), end(1, 1)).value(), 1U);
}

TEST(PeerProtocolTest, VersionsThatAreTooFarApartAreRefusedByBothEnds) {
  const auto by_old = agree(end(1, 2, "0.2.0"), end(3, 4, "0.9.1"));
  const auto by_new = agree(end(3, 4, "0.9.1"), end(1, 2, "0.2.0"));
  ASSERT_FALSE(by_old);
  ASSERT_FALSE(by_new);
  EXPECT_EQ(by_old.error().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(by_old.error().message(), HasSubstr("it speaks versions 3 to 4 (perdure 0.9.1) of the protocol between nodes, this node "
                                                  "1 to 2 (perdure 0.2.0): update perdure on this node"));
  EXPECT_THAT(by_new.error().message(), HasSubstr("it speaks versions 1 to 2 (perdure 0.2.0) of the protocol between nodes, this node "
                                                  "3 to 4 (perdure 0.9.1): update perdure on that node"));
}

TEST(PeerProtocolTest, ThisVersionSpeaksItsOwnAndTheOneBefore) {
  EXPECT_LE(kPeerProtocols.newest - kPeerProtocols.oldest, 1U);
  EXPECT_EQ(agree({kPeerProtocols, ""}, end(kPeerProtocols.oldest, kPeerProtocols.oldest)).value(), kPeerProtocols.oldest);
  EXPECT_FALSE(agree({kPeerProtocols, ""}, end(kPeerProtocols.newest + 1, kPeerProtocols.newest + 1)));
}

// Message{hello{protocol: 1, cluster_id: "0123456789abcdef", node{name: "b", incarnation: 7}, version: "0.1.0"}}
constexpr std::string_view kHelloOfVersion1(
    "\x52\x22\x08\x01\x12\x10"
    "0123456789abcdef"
    "\x1a\x05\x0a\x01"
    "b"
    "\x10\x07\x22\x05"
    "0.1.0",
    36);

TEST(PeerProtocolTest, AHelloOfVersion1IsRead) {
  p1::Message message;
  ASSERT_TRUE(message.ParseFromString(std::string(kHelloOfVersion1)));
  ASSERT_TRUE(message.has_hello());
  EXPECT_EQ(message.hello().node().name(), "b");
  EXPECT_EQ(message.hello().node().incarnation(), 7U);
  EXPECT_EQ(message.hello().version(), "0.1.0");
  EXPECT_EQ(message.hello().cluster_id(), "0123456789abcdef");
  EXPECT_EQ(agree({kPeerProtocols, "0.2.0"}, {protocols_of(message.hello()), message.hello().version()}).value(), 1U);
}

// Version 1 compares the field for equality with its own number.
TEST(PeerProtocolTest, WhatVersion1ReadsOfAHelloIsItsOwnNumber) {
  p1::Hello hello;
  hello.set_protocol(kPeerProtocols.oldest);
  hello.set_newest_protocol(kPeerProtocols.newest);
  EXPECT_EQ(hello.protocol(), 1U);
  EXPECT_EQ(protocols_of(hello).newest, kPeerProtocols.newest);
}

}  // namespace
}  // namespace perdure::node
