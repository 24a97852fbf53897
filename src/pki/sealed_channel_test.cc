// Proves that two nodes whose keys come from the same session read each other and nobody else, each datagram once and in any
// order within the window; that whatever is replayed, forged, cut, too old or foreign is dropped and counted; and that a session
// can be replaced in any order at the two ends, or break in the middle of that, without a datagram that cannot be read.
#include "pki/sealed_channel.h"

#include <openssl/err.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "pki/crypto.h"

namespace perdure::pki {
namespace {

using ::testing::HasSubstr;
using Datagram = std::vector<std::byte>;

ChannelKeys keys_of(int session, ChannelRole role, std::uint64_t max_datagrams = kMaxDatagramsOfKey) {
  std::array<std::byte, 32> material{};
  material.fill(static_cast<std::byte>(session));
  return ChannelKeys::derive(material, role, max_datagrams).value();
}

ChannelKeyId id_of(int session) { return keys_of(session, ChannelRole::kClient).id(); }

struct End {
  ChannelRole role;
  SealedChannel channel = {};

  void install(int session) { channel.install(keys_of(session, role)); }
  void confirm(int session) { channel.confirm(id_of(session)); }
  Datagram seal(std::string_view text) {
    const auto sealed = channel.seal(bytes_of(text)).value();
    return {sealed.begin(), sealed.end()};
  }
  // The content, or why there is none.
  std::string open(const Datagram& datagram) {
    const auto content = channel.open(datagram);
    if (!content) return std::string(to_string(content.error()));
    return {reinterpret_cast<const char*>(content->data()), content->size()};
  }
};

struct Pair {
  End client{ChannelRole::kClient};
  End server{ChannelRole::kServer};

  explicit Pair(int session = 1) {
    for (End* end : {&client, &server}) {
      end->install(session);
      end->confirm(session);
    }
  }
  // Each reads what the other seals now.
  bool talks() {
    return server.open(client.seal("ping")) == "ping" && client.open(server.seal("pong")) == "pong";
  }
};

TEST(SealedChannelTest, BothEndsReadEachOther) {
  Pair pair;
  EXPECT_TRUE(pair.talks());
  for (const std::string& text : {std::string(), std::string(kMaxChannelContentBytes, 'x')}) {
    const Datagram sealed = pair.client.seal(text);
    EXPECT_EQ(sealed.size(), kChannelHeaderBytes + text.size() + kChannelTagBytes);
    EXPECT_LE(sealed.size(), io::kMaxDatagramBytes);
    EXPECT_EQ(pair.server.open(sealed), text);
  }
  EXPECT_EQ(pair.server.channel.counters().opened, 3u);
  EXPECT_EQ(pair.server.channel.counters().sealed, 1u);
}

// A layout that others speak does not change unnoticed; these bytes were computed by another implementation (Python).
TEST(SealedChannelTest, TheLayoutIsWhatItSays) {
  Pair pair;
  const Datagram sealed = pair.client.seal("hello");
  EXPECT_EQ(to_hex(sealed), "0157a3cb0513fc46d0010000000000000065ffafb45c8dfa7d6ed5b3771a4190841f6f7a9d5c");
}

TEST(SealedChannelTest, NoTwoDatagramsAreAlike) {
  Pair pair;
  const Datagram first = pair.client.seal("same");
  const Datagram second = pair.client.seal("same");
  const Datagram other_way = pair.server.seal("same");
  EXPECT_NE(first, second);
  EXPECT_NE(first, other_way);
}

TEST(SealedChannelTest, AReplayIsDropped) {
  Pair pair;
  const Datagram first = pair.client.seal("1");
  const Datagram second = pair.client.seal("2");
  EXPECT_EQ(pair.server.open(first), "1");
  EXPECT_EQ(pair.server.open(first), "replayed");
  EXPECT_EQ(pair.server.open(second), "2");
  EXPECT_EQ(pair.server.open(first), "replayed");
  EXPECT_EQ(pair.server.open(second), "replayed");
  EXPECT_EQ(pair.server.channel.counters().of(Dropped::kReplayed), 3u);
}

TEST(SealedChannelTest, AnyOrderWithinTheWindowIsRead) {
  Pair pair;
  std::vector<Datagram> sealed;
  for (std::uint64_t i = 0; i < kReplayWindow; ++i) sealed.push_back(pair.client.seal(std::to_string(i)));
  for (std::uint64_t i = kReplayWindow; i-- > 0;) EXPECT_EQ(pair.server.open(sealed[i]), std::to_string(i));
  for (const Datagram& one : sealed) EXPECT_EQ(pair.server.open(one), "replayed");
}

TEST(SealedChannelTest, WhatIsBelowTheWindowIsTooOld) {
  Pair pair;
  std::vector<Datagram> sealed;
  for (std::uint64_t i = 0; i <= kReplayWindow; ++i) sealed.push_back(pair.client.seal(std::to_string(i)));
  EXPECT_EQ(pair.server.open(sealed[kReplayWindow]), "64");
  EXPECT_EQ(pair.server.open(sealed[0]), "too old");
  EXPECT_EQ(pair.server.open(sealed[1]), "1");
  EXPECT_EQ(pair.server.channel.counters().of(Dropped::kTooOld), 1u);
}

TEST(SealedChannelTest, AGapWiderThanTheWindowForgetsNothingThatCounts) {
  Pair pair;
  const Datagram early = pair.client.seal("early");
  EXPECT_EQ(pair.server.open(early), "early");
  for (std::uint64_t i = 0; i < 3 * kReplayWindow; ++i) (void)pair.client.seal("lost");
  const Datagram late = pair.client.seal("late");
  EXPECT_EQ(pair.server.open(late), "late");
  EXPECT_EQ(pair.server.open(late), "replayed");
  EXPECT_EQ(pair.server.open(early), "too old");
}

TEST(SealedChannelTest, EveryChangedBitIsNoticed) {
  Pair pair;
  const Datagram sealed = pair.client.seal("heartbeat");
  for (std::size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
    Datagram changed = sealed;
    changed[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto opened = pair.server.channel.open(changed);
    ASSERT_FALSE(opened) << "bit " << bit;
    const Dropped expected = bit < 8 ? Dropped::kMalformed : bit < 72 ? Dropped::kUnknownKey : Dropped::kForged;
    EXPECT_EQ(opened.error(), expected) << "bit " << bit;
  }
  EXPECT_EQ(pair.server.open(sealed), "heartbeat") << "forgeries leave no trace in the window";
}

TEST(SealedChannelTest, EveryOtherLengthIsNoticed) {
  Pair pair;
  const Datagram sealed = pair.client.seal("heartbeat");
  for (std::size_t size = 0; size < sealed.size(); ++size) {
    const std::string why = pair.server.open(Datagram(sealed.begin(), sealed.begin() + static_cast<std::ptrdiff_t>(size)));
    EXPECT_EQ(why, size < kChannelHeaderBytes + kChannelTagBytes ? "malformed" : "forged") << size;
  }
  Datagram longer = sealed;
  longer.push_back({});
  EXPECT_EQ(pair.server.open(longer), "forged");
  longer.resize(io::kMaxDatagramBytes + 1);
  EXPECT_EQ(pair.server.open(longer), "malformed");
}

TEST(SealedChannelTest, WhatIsSentBackToItsSenderIsForged) {
  Pair pair;
  EXPECT_EQ(pair.client.open(pair.client.seal("mine")), "forged");
  EXPECT_EQ(pair.client.channel.counters().of(Dropped::kForged), 1u);
}

TEST(SealedChannelTest, AnotherSessionsDatagramIsForeign) {
  Pair pair(1);
  Pair other(2);
  const Datagram foreign = other.client.seal("hello");
  EXPECT_EQ(pair.server.open(foreign), "unknown key");
  EXPECT_EQ(pair.server.channel.counters().of(Dropped::kUnknownKey), 1u);
  EXPECT_FALSE(pair.server.channel.holds(key_id_of(foreign).value()));
  EXPECT_TRUE(other.server.channel.holds(key_id_of(foreign).value()));
}

TEST(SealedChannelTest, SealsNothingBeforeTheKeysAreConfirmed) {
  End end{ChannelRole::kClient};
  EXPECT_EQ(end.channel.seal({}).error().code(), ErrorCode::kNotFound);
  end.install(1);
  EXPECT_EQ(end.channel.seal({}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(end.channel.left(), 0u);
  end.confirm(2);
  EXPECT_EQ(end.channel.seal({}).error().code(), ErrorCode::kNotFound);
  end.confirm(1);
  EXPECT_EQ(end.channel.sealing(), id_of(1));
  EXPECT_TRUE(end.channel.seal({}));
}

TEST(SealedChannelTest, ADatagramThatOpensConfirmsItsKeys) {
  Pair pair(1);
  pair.client.install(2);
  pair.server.install(2);
  pair.client.confirm(2);
  EXPECT_EQ(pair.server.channel.sealing(), id_of(1));
  EXPECT_EQ(pair.server.open(pair.client.seal("new")), "new");
  EXPECT_EQ(pair.server.channel.sealing(), id_of(2));
  EXPECT_TRUE(pair.talks());
}

TEST(SealedChannelTest, AForgedDatagramConfirmsNothing) {
  Pair pair(1);
  Pair next(2);
  pair.server.install(2);
  Datagram forged = next.client.seal("new");
  forged.back() ^= std::byte{1};
  EXPECT_EQ(pair.server.open(forged), "forged");
  EXPECT_EQ(pair.server.channel.sealing(), id_of(1));
}

// The four steps of a replacement, in each order that is possible: who confirms has heard of the other's having installed.
TEST(SealedChannelTest, ASessionIsReplacedInAnyOrderWithoutLoss) {
  enum Step { kClientInstalls, kServerInstalls, kClientConfirms, kServerConfirms };
  std::array<Step, 4> order{kClientInstalls, kServerInstalls, kClientConfirms, kServerConfirms};
  int orders = 0;
  do {
    const auto place = [&](Step step) { return std::ranges::find(order, step) - order.begin(); };
    const auto both = std::max(place(kClientInstalls), place(kServerInstalls));
    if (place(kClientConfirms) < both || place(kServerConfirms) < both) continue;
    ++orders;
    Pair pair(1);
    for (const Step step : order) {
      // What is under way while the step is done.
      const Datagram to_server = pair.client.seal("before");
      const Datagram to_client = pair.server.seal("before");
      End& end = step == kClientInstalls || step == kClientConfirms ? pair.client : pair.server;
      step == kClientInstalls || step == kServerInstalls ? end.install(2) : end.confirm(2);
      EXPECT_EQ(pair.server.open(to_server), "before");
      EXPECT_EQ(pair.client.open(to_client), "before");
      EXPECT_TRUE(pair.talks());
    }
    EXPECT_EQ(pair.client.channel.sealing(), id_of(2));
    EXPECT_EQ(pair.server.channel.sealing(), id_of(2));
    EXPECT_EQ(pair.client.channel.counters().dropped, ChannelCounters{}.dropped);
    EXPECT_EQ(pair.server.channel.counters().dropped, ChannelCounters{}.dropped);
  } while (std::ranges::next_permutation(order).found);
  EXPECT_EQ(orders, 4);
}

TEST(SealedChannelTest, SessionsThatOneEndAloneTookForOpenSilenceNobody) {
  Pair pair(1);
  for (int session = 2; session < 6; ++session) {
    (session % 2 == 0 ? pair.client : pair.server).install(session);
    EXPECT_TRUE(pair.talks());
  }
  for (End* end : {&pair.client, &pair.server}) end->install(6);
  pair.client.confirm(6);
  EXPECT_TRUE(pair.talks());
  EXPECT_EQ(pair.server.channel.sealing(), id_of(6));
}

TEST(SealedChannelTest, TwoGenerationsOpenAndNoMore) {
  Pair pair(1);
  const Datagram of_first = pair.client.seal("first");
  Datagram of_second;
  for (int session = 2; session <= 3; ++session) {
    for (End* end : {&pair.client, &pair.server}) end->install(session);
    for (End* end : {&pair.client, &pair.server}) end->confirm(session);
    if (session == 2) of_second = pair.client.seal("second");
  }
  EXPECT_EQ(pair.server.open(of_second), "second");
  EXPECT_EQ(pair.server.channel.sealing(), id_of(3)) << "older keys are not gone back to";
  EXPECT_EQ(pair.server.open(of_first), "unknown key");
  EXPECT_FALSE(pair.server.channel.holds(id_of(1)));
}

TEST(SealedChannelTest, KeysThatAreHeldAreNotBegunAnew) {
  Pair pair;
  const Datagram first = pair.client.seal("same");
  EXPECT_EQ(pair.server.open(first), "same");
  pair.client.install(1);
  pair.server.install(1);
  EXPECT_NE(pair.client.seal("same"), first) << "a nonce twice under one key hides nothing";
  EXPECT_EQ(pair.server.open(first), "replayed");
}

TEST(SealedChannelTest, AnExhaustedKeySealsNothingMore) {
  SealedChannel channel;
  channel.install(keys_of(1, ChannelRole::kClient, 3));
  channel.confirm(id_of(1));
  for (int i = 3; i > 0; --i) {
    EXPECT_EQ(channel.left(), static_cast<std::uint64_t>(i));
    ASSERT_TRUE(channel.seal({}));
  }
  EXPECT_EQ(channel.left(), 0u);
  const auto refused = channel.seal({});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(refused.error().message(), HasSubstr("a new session"));
  channel.install(keys_of(2, ChannelRole::kClient));
  channel.confirm(id_of(2));
  EXPECT_TRUE(channel.seal({}));
}

TEST(SealedChannelTest, WhatDoesNotFitIsRefused) {
  Pair pair;
  const auto refused = pair.client.channel.seal(bytes_of(std::string(kMaxChannelContentBytes + 1, 'x')));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
}

TEST(SealedChannelTest, LeavesNoErrorsInOpensslsQueue) {
  Pair pair;
  Datagram forged = pair.client.seal("x");
  forged.back() ^= std::byte{1};
  EXPECT_EQ(pair.server.open(forged), "forged");
  EXPECT_EQ(ERR_peek_error(), 0u);
}

}  // namespace
}  // namespace perdure::pki
