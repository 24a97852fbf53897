// Proves the decision about a peer after a rollback, wrap-around of sequence numbers included.
#include <gtest/gtest.h>

#include "network/tcp_probe.h"

namespace perdure::network {
namespace {

RestoredSocket restored(std::uint32_t base) {
  RestoredSocket socket;
  socket.snd_una = base;
  socket.snd_nxt = base + 100;
  socket.rcv_nxt = base + 5000;
  return socket;
}

PeerAnswer answered(std::uint32_t rcv_nxt, std::uint32_t snd_nxt) {
  PeerAnswer answer;
  answer.rcv_nxt = rcv_nxt;
  answer.snd_nxt = snd_nxt;
  return answer;
}

class ClassifyTest : public testing::TestWithParam<std::uint32_t> {
 protected:
  std::uint32_t base() const { return GetParam(); }
  RestoredSocket socket() const { return restored(base()); }
};

TEST_P(ClassifyTest, SilenceAndResets) {
  EXPECT_EQ(classify(socket(), std::nullopt), PeerState::kNoAnswer);
  PeerAnswer answer;
  answer.reset = true;
  EXPECT_EQ(classify(socket(), answer), PeerState::kGone);
}

TEST_P(ClassifyTest, AnyPartOfTheSendQueueMayHaveArrived) {
  for (const std::uint32_t received : {0u, 1u, 99u, 100u}) {
    EXPECT_EQ(classify(socket(), answered(base() + received, base() + 5000)), PeerState::kUnmoved)
        << received;
  }
  EXPECT_EQ(classify(socket(), answered(base() + 101, base() + 5000)), PeerState::kMoved);
  EXPECT_EQ(classify(socket(), answered(base() - 1, base() + 5000)), PeerState::kMoved);
}

TEST_P(ClassifyTest, PeerThatSentMoreIsMovedWithoutTimestamps) {
  EXPECT_EQ(classify(socket(), answered(base(), base() + 5001)), PeerState::kMoved);
  EXPECT_EQ(classify(socket(), answered(base(), base() + 4999)), PeerState::kMoved);
}

TEST_P(ClassifyTest, TimestampsTellUnacknowledgedBytesFromLostOnes) {
  RestoredSocket with = socket();
  with.timestamp = base();
  PeerAnswer answer = answered(base(), base() + 5700);
  answer.timestamp_echo = base();
  EXPECT_EQ(classify(with, answer), PeerState::kUnmoved)
      << "it has heard nothing since the checkpoint";
  answer.timestamp_echo = base() - 10;
  EXPECT_EQ(classify(with, answer), PeerState::kUnmoved);
  answer.timestamp_echo = base() + 1;
  EXPECT_EQ(classify(with, answer), PeerState::kUnmoved)
      << "the kernel reports the clock without its lowest bit";
  answer.timestamp_echo = base() + 2;
  EXPECT_EQ(classify(with, answer), PeerState::kMoved);
  answer.rcv_nxt = base() + 101;
  answer.timestamp_echo = base();
  EXPECT_EQ(classify(with, answer), PeerState::kMoved) << "what it received is beyond doubt";
}

TEST_P(ClassifyTest, WhatTheRestoredSocketSaysSinceCounts) {
  PeerAnswer answer = answered(base() + 150, base() + 5030);
  answer.timestamp_echo = base() + 500;
  EXPECT_EQ(classify(socket(), answer), PeerState::kMoved);
  answer.said = {base() + 150, base() + 5030};
  EXPECT_EQ(classify(socket(), answer), PeerState::kUnmoved);
  answer.said = {base() + 150, base() + 5031};
  EXPECT_EQ(classify(socket(), answer), PeerState::kUnmoved) << "an acknowledgement overtook the answer";
  answer.said = {base() + 149, base() + 5030};
  EXPECT_EQ(classify(socket(), answer), PeerState::kMoved) << "it has received what was never sent";
  answer.said = {base() + 150, base() + 5029};
  EXPECT_EQ(classify(socket(), answer), PeerState::kMoved) << "its bytes are not acknowledged";
}

class SplicePointTest : public ClassifyTest {};

TEST_P(SplicePointTest, IsWhereThePeerIs) {
  EXPECT_EQ(splice_point(socket(), answered(base() + 7000, base() + 9000)), (SplicePoint{base() + 7000, base() + 9000}));
  EXPECT_EQ(splice_point(socket(), answered(base() + 50, base() + 5000)), (SplicePoint{base() + 50, base() + 5000}))
      << "one that has not moved";
}

TEST_P(SplicePointTest, BytesThatWillComeAgainAreNotSkipped) {
  RestoredSocket with = socket();
  with.timestamp = base();
  PeerAnswer answer = answered(base() + 50, base() + 5700);
  answer.timestamp_echo = base();
  EXPECT_EQ(splice_point(with, answer), (SplicePoint{base() + 50, base() + 5000}));
  answer.timestamp_echo = base() + 500;
  EXPECT_EQ(splice_point(with, answer), (SplicePoint{base() + 50, base() + 5700}));
}

TEST_P(SplicePointTest, NobodyFollowsAPeerThatIsBehindOrGone) {
  EXPECT_FALSE(splice_point(socket(), answered(base() - 1, base() + 5000)));
  EXPECT_FALSE(splice_point(socket(), answered(base(), base() + 4999)));
  PeerAnswer reset;
  reset.reset = true;
  EXPECT_FALSE(splice_point(socket(), reset));
}

TEST_P(SplicePointTest, TooLateOnceTheRestoredSocketHasSpoken) {
  PeerAnswer answer = answered(base() + 7000, base() + 9000);
  answer.said = {base() + 150, base() + 5030};
  EXPECT_FALSE(splice_point(socket(), answer));
}

TEST_P(SplicePointTest, NothingLiesBehindAnEnd) {
  RestoredSocket shut = socket();
  shut.shut_by_container = true;
  EXPECT_TRUE(splice_point(shut, answered(base() + 100, base() + 9000)));
  EXPECT_FALSE(splice_point(shut, answered(base() + 101, base() + 9000)));
  shut = socket();
  shut.shut_by_peer = true;
  EXPECT_TRUE(splice_point(shut, answered(base() + 7000, base() + 5000)));
  EXPECT_FALSE(splice_point(shut, answered(base() + 7000, base() + 5001)));
}

INSTANTIATE_TEST_SUITE_P(Wrap, SplicePointTest, testing::Values(1000u, 0xffffffceu, 0xfffff000u, 0u));
INSTANTIATE_TEST_SUITE_P(Wrap, ClassifyTest, testing::Values(1000u, 0xffffffceu, 0xfffff000u, 0u));

}  // namespace
}  // namespace perdure::network
