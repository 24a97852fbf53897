// Proves on images that are written here, byte by byte as CRIU writes them, where a captured connection stood, and what
// its image says once it is to go on where its peer is: which bytes are left, in which sequence numbers. What CRIU and
// the kernel make of such an image, tests/e2e/test_connections.py shows.
#include "capsule/criu/tcp_images.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <format>

#include "capsule/criu/image_file.h"
#include "criu_images.pb.h"

namespace perdure::capsule {
namespace {

constexpr std::uint32_t kInode = 0x1f;
constexpr std::uint16_t kPort = 8554;
constexpr std::uint32_t kScale = 7;

struct Queues {
  std::string received;
  std::string to_send;
};

// A connection with 6 bytes unread, 10 to send of which 4 have not been sent, at any place of the sequence space.
class TcpImagesTest : public testing::TestWithParam<std::uint32_t> {
 protected:
  TcpImagesTest() {
    tcp_.set_inq_len(6);
    tcp_.set_inq_seq(at(5000));
    tcp_.set_outq_len(10);
    tcp_.set_outq_seq(at(110));
    tcp_.set_unsq_len(4);
    tcp_.set_opt_mask(0xf);
    tcp_.set_snd_wscale(kScale);
    tcp_.set_rcv_wscale(kScale);
    tcp_.set_timestamp(at(40'000) & ~1u);
    tcp_.set_snd_wl1(at(4990));
    tcp_.set_snd_wnd(1 << 12);
    tcp_.set_max_window(1 << 13);
    tcp_.set_rcv_wup(at(4000));
    tcp_.set_rcv_wnd(9000);
    socket_.set_id(1);
    socket_.set_ino(kInode);
    socket_.set_family(AF_INET);
    socket_.set_type(SOCK_STREAM);
    socket_.set_proto(IPPROTO_TCP);
    socket_.set_state(TCP_ESTABLISHED);
    socket_.set_src_port(kPort);
    socket_.set_dst_port(40'000);
  }

  std::uint32_t at(std::uint32_t offset) const { return GetParam() + offset; }

  Image stream() const {
    Image image{std::format("tcp-stream-{:x}.img", kInode), {}};
    append_image_magic(image.bytes, kTcpStreamMagic);
    append_image_entry(image.bytes, tcp_.SerializeAsString());
    image.bytes += "unread" + to_send_.substr(0, tcp_.outq_len());
    return image;
  }
  std::vector<Image> images() const {
    Image files{"files.img", {}};
    append_image_magic(files.bytes, kFilesMagic);
    const auto add = [&](const criu::InetSocketEntry& socket) {
      criu::FileEntry entry;
      entry.set_type(5);
      entry.set_id(socket.id());
      *entry.mutable_isk() = socket;
      append_image_entry(files.bytes, entry.SerializeAsString());
    };
    add(socket_);
    for (const auto& more : more_) add(more);
    return {files, stream()};
  }
  CapturedConnection connection() const {
    auto found = captured_connections(images());
    EXPECT_TRUE(found) << found.error().message();
    EXPECT_EQ(found->size(), 1u);
    return found->at(0);
  }
  // What the image is once its connection goes on where the peer is.
  criu::TcpStreamEntry moved_to(const PeerPosition& peer) {
    const auto moved = image_at(stream(), connection(), peer);
    if (!moved) {
      ADD_FAILURE() << moved.error().message();
      return {};
    }
    EXPECT_EQ(moved->name, stream().name);
    const auto parts = split_image(moved->name, moved->bytes, kTcpStreamMagic, 1);
    EXPECT_TRUE(parts);
    criu::TcpStreamEntry tcp;
    EXPECT_TRUE(tcp.ParseFromString(std::string(parts->entries.at(0))));
    const auto begin = static_cast<std::size_t>(parts->entries[0].data() - moved->bytes.data()) + parts->entries[0].size();
    left_ = {moved->bytes.substr(begin, tcp.inq_len()), moved->bytes.substr(begin + tcp.inq_len())};
    return tcp;
  }
  std::string refusal(const PeerPosition& peer) {
    const auto moved = image_at(stream(), connection(), peer);
    if (moved) return "accepted";
    EXPECT_EQ(moved.error().code(), ErrorCode::kInvalid);
    return moved.error().message();
  }

  criu::TcpStreamEntry tcp_;
  criu::InetSocketEntry socket_;
  std::vector<criu::InetSocketEntry> more_;
  std::string to_send_ = "0123456789";
  Queues left_;
};

TEST_P(TcpImagesTest, SaysWhereAConnectionStood) {
  const CapturedConnection found = connection();
  EXPECT_EQ(found.send_unacknowledged, at(100));
  EXPECT_EQ(found.send_next, at(106));
  EXPECT_EQ(found.receive_next, at(5000));
  EXPECT_EQ(found.unacknowledged, "012345");
  EXPECT_EQ(found.window, 8000 >> kScale) << "of 9000 offered, 1000 have come";
  EXPECT_EQ(found.timestamp, tcp_.timestamp());
  EXPECT_EQ(found.image, "tcp-stream-1f.img");
  EXPECT_TRUE(found.open);
  EXPECT_FALSE(found.listens || found.shut_by_container || found.shut_by_peer);
}

TEST_P(TcpImagesTest, AcceptedIsWhatCameToAPortAtWhichTheContainerListens) {
  criu::InetSocketEntry listener = socket_;
  listener.set_id(2);
  listener.set_ino(kInode + 1);
  listener.set_state(TCP_LISTEN);
  listener.set_src_port(kPort + 1);
  more_ = {listener};
  EXPECT_FALSE(connection().listens);
  more_[0].set_src_port(kPort);
  EXPECT_TRUE(connection().listens);
}

TEST_P(TcpImagesTest, AFinUnderWayCountsAsOneMore) {
  tcp_.set_outq_seq(at(111));
  tcp_.set_unsq_len(0);
  for (const int state : {TCP_FIN_WAIT1, TCP_CLOSING, TCP_LAST_ACK}) {
    socket_.set_state(state);
    const CapturedConnection found = connection();
    EXPECT_EQ(found.send_unacknowledged, at(100)) << state;
    EXPECT_EQ(found.send_next, at(111)) << state;
    EXPECT_TRUE(found.shut_by_container) << state;
    EXPECT_EQ(found.open, state == TCP_FIN_WAIT1) << state;
  }
}

TEST_P(TcpImagesTest, BytesThatThePeerHasLeaveTheQueueAndTheRestIsUnsent) {
  const auto tcp = moved_to({at(103), at(5000), 64, {}});
  EXPECT_EQ(tcp.outq_seq(), at(110));
  EXPECT_EQ(tcp.outq_len(), 7u);
  EXPECT_EQ(tcp.unsq_len(), 7u);
  EXPECT_EQ(left_.to_send, "3456789");
  EXPECT_EQ(left_.received, "unread");
  EXPECT_EQ(tcp.inq_seq(), at(5000));
  EXPECT_EQ(tcp.timestamp(), tcp_.timestamp());
}

TEST_P(TcpImagesTest, WhatThePeerHasBeyondTheQueueIsSentASecondTime) {
  const auto tcp = moved_to({at(7100), at(5000), 64, {}});
  EXPECT_EQ(tcp.outq_seq(), at(7100)) << "the next byte that the application writes";
  EXPECT_EQ(tcp.outq_len(), 0u);
  EXPECT_EQ(tcp.unsq_len(), 0u);
  EXPECT_EQ(left_.to_send, "");
  EXPECT_EQ(left_.received, "unread");
}

TEST_P(TcpImagesTest, WhatThePeerSentSinceIsAHoleBehindWhatIsUnread) {
  const auto tcp = moved_to({at(100), at(90'000), 64, {}});
  EXPECT_EQ(tcp.inq_seq(), at(90'000));
  EXPECT_EQ(tcp.inq_len(), 6u);
  EXPECT_EQ(left_.received, "unread");
  EXPECT_EQ(left_.to_send, "0123456789");
  // The kernel refuses a window that begins behind what was received.
  EXPECT_EQ(tcp.rcv_wup(), at(90'000));
  EXPECT_EQ(tcp.rcv_wnd(), 8000u);
  EXPECT_EQ(tcp.snd_wl1(), at(89'999));
  EXPECT_EQ(tcp.snd_wnd(), 64u << kScale);
  EXPECT_EQ(tcp.max_window(), tcp.snd_wnd() > (1u << 13) ? tcp.snd_wnd() : 1u << 13);
}

TEST_P(TcpImagesTest, ALargerWindowOfThePeerIsTheLargest) {
  EXPECT_EQ(moved_to({at(100), at(5000), 60'000, {}}).max_window(), 60'000u << kScale);
}

TEST_P(TcpImagesTest, TheClockGoesOnBehindWhatThePeerHasSeenAndKeepsItsUnit) {
  const std::uint32_t seen = at(41'001) | 1;
  EXPECT_EQ(moved_to({at(100), at(5000), 64, seen}).timestamp(), (seen + 2) & ~1u);
  tcp_.set_timestamp(tcp_.timestamp() | 1);
  EXPECT_EQ(moved_to({at(100), at(5000), 64, seen}).timestamp() & 1, 1u) << "in microseconds";
  EXPECT_EQ(moved_to({at(100), at(5000), 64, at(100)}).timestamp(), tcp_.timestamp()) << "never back";
  tcp_.clear_timestamp();
  EXPECT_FALSE(moved_to({at(100), at(5000), 64, seen}).has_timestamp());
}

TEST_P(TcpImagesTest, AConnectionThatIsBeingMadeHasNoWindow) {
  for (const int state : {TCP_ESTABLISHED, TCP_CLOSE_WAIT, TCP_SYN_SENT}) {
    socket_.set_state(static_cast<std::uint32_t>(state));
    std::vector<Image> all = images();
    const auto dropped = drop_windows_of_begun(all);
    ASSERT_TRUE(dropped) << dropped.error().message();
    if (state != TCP_SYN_SENT) {
      EXPECT_EQ(*dropped, 0u);
      EXPECT_EQ(all[1].bytes, stream().bytes);
      continue;
    }
    EXPECT_EQ(*dropped, 1u);
    tcp_.clear_snd_wl1();
    tcp_.clear_snd_wnd();
    tcp_.clear_max_window();
    tcp_.clear_rcv_wnd();
    tcp_.clear_rcv_wup();
    EXPECT_EQ(all[1].bytes, stream().bytes) << "and is else what it was";
  }
}

TEST_P(TcpImagesTest, AnImageWithoutWindowsGetsNone) {
  for (auto clear : {&criu::TcpStreamEntry::clear_snd_wnd, &criu::TcpStreamEntry::clear_snd_wl1,
                     &criu::TcpStreamEntry::clear_rcv_wnd, &criu::TcpStreamEntry::clear_rcv_wup}) {
    (tcp_.*clear)();
  }
  const auto tcp = moved_to({at(100), at(90'000), 64, {}});
  EXPECT_FALSE(tcp.has_snd_wnd() || tcp.has_snd_wl1() || tcp.has_rcv_wup());
}

TEST_P(TcpImagesTest, AHalfClosedConnectionStaysHalfClosed) {
  socket_.set_state(TCP_FIN_WAIT1);
  tcp_.set_outq_seq(at(111));
  auto tcp = moved_to({at(104), at(5100), 64, {}});
  EXPECT_EQ(tcp.outq_seq(), at(111));
  EXPECT_EQ(left_.to_send, "456789");
  tcp = moved_to({at(111), at(5100), 64, {}});
  EXPECT_EQ(tcp.outq_seq(), at(111)) << "the FIN is sent again, and acknowledged as an old one";
  EXPECT_EQ(tcp.outq_len(), 0u);
  EXPECT_THAT(refusal({at(112), at(5100), 64, {}}), testing::HasSubstr("behind the end"));

  socket_.set_state(TCP_FIN_WAIT2);
  tcp_.set_outq_len(0);
  tcp_.set_unsq_len(0);
  tcp = moved_to({at(111), at(5200), 64, {}});
  EXPECT_EQ(tcp.outq_seq(), at(111));
  EXPECT_EQ(tcp.inq_seq(), at(5200));
  EXPECT_THAT(refusal({at(112), at(5200), 64, {}}), testing::HasSubstr("behind the end"));
}

TEST_P(TcpImagesTest, APeerThatHadClosedItsSideCanOnlyReceive) {
  socket_.set_state(TCP_CLOSE_WAIT);
  const auto tcp = moved_to({at(300), at(5000), 64, {}});
  EXPECT_EQ(tcp.outq_seq(), at(300));
  EXPECT_EQ(tcp.inq_seq(), at(5000));
  EXPECT_THAT(refusal({at(300), at(5001), 64, {}}), testing::HasSubstr("behind its end"));
}

TEST_P(TcpImagesTest, APeerThatIsBehindCannotBeFollowed) {
  EXPECT_THAT(refusal({at(99), at(5000), 64, {}}), testing::HasSubstr("tcp-stream-1f.img"));
  EXPECT_THAT(refusal({at(99), at(5000), 64, {}}), testing::HasSubstr("lacks bytes"));
  EXPECT_THAT(refusal({at(100), at(4999), 64, {}}), testing::HasSubstr("is behind"));
}

TEST_P(TcpImagesTest, TheClockAloneIsSetLater) {
  const auto clock_of = [&](std::chrono::milliseconds later) -> std::uint32_t {
    const auto image = image_later(stream(), later);
    if (!image || !*image) return 0;
    auto all = images();
    all[1] = **image;
    const auto found = captured_connections(all);
    EXPECT_EQ(found->at(0).unacknowledged, "012345") << "and nothing else";
    return *found->at(0).timestamp;
  };
  using std::chrono::milliseconds;
  EXPECT_EQ(clock_of(milliseconds(500)), tcp_.timestamp() + 500);
  EXPECT_EQ(clock_of(milliseconds(501)) & 1, 0u);
  EXPECT_EQ(clock_of(std::chrono::hours(24 * 365)), tcp_.timestamp() + (1u << 30)) << "never an old one";
  tcp_.set_timestamp(tcp_.timestamp() | 1);
  EXPECT_EQ(clock_of(milliseconds(500)), tcp_.timestamp() + 500'000);
  EXPECT_FALSE(*image_later(stream(), milliseconds(0)));
  EXPECT_FALSE(*image_later(stream(), milliseconds(-5))) << "another host's clock";
  tcp_.clear_timestamp();
  EXPECT_FALSE(*image_later(stream(), milliseconds(500)));
}

TEST_P(TcpImagesTest, WhatCannotBeAnImageIsCorruptByName) {
  const CapturedConnection good = connection();
  const auto expect_corrupt = [&](const Image& image, std::string_view what) {
    auto all = images();
    all[1] = image;
    for (const auto& error : {captured_connections(all).error(), image_at(image, good, {at(103), at(5000), 64, {}}).error(),
                              image_later(image, std::chrono::milliseconds(5)).error()}) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << what;
      EXPECT_THAT(error.message(), testing::HasSubstr("'tcp-stream-1f.img'")) << what;
    }
  };
  for (std::size_t size = 0; size < stream().bytes.size(); ++size) {
    Image image = stream();
    image.bytes.resize(size);
    expect_corrupt(image, std::format("cut to {} bytes", size));
  }
  tcp_.set_unsq_len(11);
  expect_corrupt(stream(), "more unsent than there is");
  tcp_.set_unsq_len(4);
  tcp_.set_inq_len(UINT32_MAX);
  expect_corrupt(stream(), "a queue that is longer than the file");
  tcp_.set_inq_len(6);
  tcp_.set_snd_wscale(32);
  expect_corrupt(stream(), "a shift beyond the word");
}

INSTANTIATE_TEST_SUITE_P(Wrap, TcpImagesTest, testing::Values(1000u, 0xffffff98u, 0xffffff9du, 0xffffec80u, 0u));

}  // namespace
}  // namespace perdure::capsule
