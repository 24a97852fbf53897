// Proves that frames come out of the reader as they went into the writer, however the bytes are cut, that the writer
// fills records and copies no more than it must, and that memory follows what has come, not what was announced.
#include "io/tls_frame.h"

#include <cstring>
#include <memory>

#include "gtest/gtest.h"
#include "io/tls_fixture.h"

namespace perdure::io {
namespace {

using Step = TlsFrameReader::Step;

std::string drain(TlsFrameWriter& writer) {
  std::string bytes;
  while (!writer.empty()) {
    const auto next = writer.next();
    EXPECT_FALSE(next.empty());
    EXPECT_LE(next.size(), kTlsRecordBytes);
    EXPECT_EQ(next.data(), writer.next().data()) << "the same until it is sent";
    bytes.append(reinterpret_cast<const char*>(next.data()), next.size());
    writer.sent();
  }
  EXPECT_EQ(writer.queued_bytes(), 0u);
  return bytes;
}

// Feeds `chunk` bytes at a time; false: refused.
bool feed(TlsFrameReader& reader, std::string_view bytes, std::size_t chunk,
          std::vector<TlsFrameReader::Frame>& frames) {
  while (!bytes.empty()) {
    const auto space = reader.space();
    const std::size_t step = std::min({chunk, bytes.size(), space.size()});
    std::memcpy(space.data(), bytes.data(), step);
    bytes.remove_prefix(step);
    Result<Step> next = reader.filled(step);
    if (next && *next == Step::kBody) next = reader.accept(Side::memory_for(reader.body_bytes()));
    if (!next) return false;
    if (*next == Step::kFrame) frames.push_back(reader.take());
  }
  return true;
}

TEST(TlsFrameTest, FramesAreWrittenAsTheHeaderSays) {
  TlsFrameWriter writer;
  const auto body = std::make_shared<const std::string>("body");
  writer.push("hello", body_of(body));
  writer.push("", {});
  EXPECT_EQ(writer.queued_bytes(), 12u + 9 + 12);
  EXPECT_EQ(drain(writer), frame_bytes("hello", "body") + frame_bytes(""));
}

TEST(TlsFrameTest, ReadsWhatWasWrittenHoweverItIsCut) {
  TlsFrameWriter writer;
  const auto body = std::make_shared<const std::string>(pattern(777));
  writer.push("", {});
  writer.push("first", body_of(body));
  writer.push(pattern(300), {});
  writer.push("", body_of(body));
  const std::string bytes = drain(writer);
  for (std::size_t chunk = 1; chunk < 100; ++chunk) {
    TlsFrameReader reader(300);
    std::vector<TlsFrameReader::Frame> frames;
    ASSERT_TRUE(feed(reader, bytes, chunk, frames));
    ASSERT_EQ(frames.size(), 4u);
    EXPECT_EQ(frames[1].message, "first");
    EXPECT_EQ(std::memcmp(frames[1].body.target.data(), body->data(), body->size()), 0);
    EXPECT_EQ(frames[2].message, pattern(300));
    EXPECT_EQ(frames[3].body.target.size(), body->size());
    EXPECT_FALSE(reader.within_frame());
    EXPECT_EQ(reader.total_bytes(), bytes.size());
  }
}

TEST(TlsFrameTest, SmallPiecesShareARecordAndLargeOnesAreNotCopied) {
  TlsFrameWriter writer;
  const std::string small = pattern(100);
  const std::string large = pattern(10 * kTlsRecordBytes);
  OutgoingBody body;
  for (int i = 0; i < 50; ++i) body.pieces.push_back(std::as_bytes(std::span(small)));
  body.pieces.push_back(std::as_bytes(std::span(large)));
  writer.push("m", std::move(body));
  writer.push("behind", {});
  int records = 0;
  int direct = 0;
  const auto* const begin = reinterpret_cast<const std::byte*>(large.data());
  while (!writer.empty()) {
    const auto next = writer.next();
    ++records;
    direct += next.data() >= begin && next.data() < begin + large.size() ? 1 : 0;
    EXPECT_EQ(writer.more_after_next(), writer.queued_bytes() > next.size());
    writer.sent();
  }
  EXPECT_EQ(records, 11);
  EXPECT_EQ(direct, 9);
}

TEST(TlsFrameTest, WhatIsAppendedMeanwhileDoesNotChangeARecordUnderWay) {
  TlsFrameWriter writer;
  writer.push("one", {});
  const std::string before(reinterpret_cast<const char*>(writer.next().data()), writer.next().size());
  writer.push("two", {});
  EXPECT_EQ(writer.next().size(), before.size());
  EXPECT_TRUE(writer.more_after_next());
  EXPECT_EQ(
      before +
          [&] {
            writer.sent();
            return drain(writer);
          }(),
      frame_bytes("one") + frame_bytes("two"));
}

TEST(TlsFrameTest, OwnersGoWithTheirFrame) {
  TlsFrameWriter writer;
  auto first = std::make_shared<const std::string>(pattern(20'000));
  auto second = std::make_shared<const std::string>(pattern(20'000));
  const std::weak_ptr<const std::string> watch_first = first;
  const std::weak_ptr<const std::string> watch_second = second;
  writer.push("", body_of(std::exchange(first, nullptr)));
  writer.push("", body_of(std::exchange(second, nullptr)));
  writer.next();
  writer.sent();
  EXPECT_FALSE(watch_first.expired());
  writer.next();
  writer.sent();
  EXPECT_TRUE(watch_first.expired());
  EXPECT_FALSE(watch_second.expired());
  writer.clear();
  EXPECT_TRUE(watch_second.expired());
  EXPECT_TRUE(writer.empty());
}

TEST(TlsFrameTest, MemoryFollowsWhatHasCome) {
  TlsFrameReader reader(kMaxTlsMessageBytes);
  std::vector<TlsFrameReader::Frame> frames;
  std::string header = frame_bytes("");
  header[3] = 1;  // 16 MiB
  ASSERT_TRUE(feed(reader, header + "some", 1000, frames));
  EXPECT_LE(reader.space().size(), 64u << 10);
  EXPECT_TRUE(reader.within_frame());
  EXPECT_EQ(reader.frame_bytes_done(), 16u);
  EXPECT_EQ(reader.frame_bytes(), 12u + (16 << 20));
}

TEST(TlsFrameTest, TheLimitIsOnTheMessage) {
  std::vector<TlsFrameReader::Frame> frames;
  TlsFrameReader exact(5);
  EXPECT_TRUE(feed(exact, frame_bytes("12345"), 100, frames));
  TlsFrameReader beyond(5);
  EXPECT_FALSE(feed(beyond, frame_bytes("123456"), 100, frames));
  EXPECT_EQ(frames.size(), 1u);
}

}  // namespace
}  // namespace perdure::io
