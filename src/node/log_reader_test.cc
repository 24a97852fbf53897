// The reader of container logs: lines as the logger writes them, over rotations, from an end or a time on. The
// files are written here, partly with the logger's own classes.
#include "node/log_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <format>
#include <fstream>

#include "control_limits.h"
#include "gtest/gtest.h"
#include "io/test_support.h"
#include "runtime/log_file.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

constexpr const char* kTime = "2025-06-01T12:00:00.123Z";
constexpr std::int64_t kTimeMs = 1748779200123;

class LogReaderTest : public ::testing::Test {
 protected:
  void write(int index, const std::string& text) {
    const std::string name = index == 0 ? "container.log" : std::format("container.log.{}", index);
    std::ofstream(directory_ / name, std::ios::app) << text;
  }
  void rotate() {
    for (int index = 8; index >= 0; --index) {
      const std::string from = index == 0 ? "container.log" : std::format("container.log.{}", index);
      ::rename((directory_ / from).c_str(), (directory_ / std::format("container.log.{}", index + 1)).c_str());
    }
  }
  static std::string line(const std::string& text, char tag = 'o') { return std::format("{} {} {}\n", kTime, tag, text); }
  LogReader reader(LogReaderOptions options = {}) {
    options.directory = directory_.path();
    return LogReader(std::move(options));
  }
  // Everything up to the end, streams mixed.
  static std::string drain(LogReader& reader) {
    std::string text;
    for (;;) {
      auto batch = reader.read();
      EXPECT_TRUE(batch) << batch.error().message();
      if (!batch) return text;
      for (const v1::LogChunk& chunk : batch->chunks) {
        EXPECT_LE(chunk.data().size(), control::kMaxLogChunkBytes);
        text += chunk.data();
      }
      if (batch->at_end) return text;
    }
  }
  std::string tail(std::uint32_t lines) {
    LogReader wanted = reader({.directory = {}, .tail_lines = lines, .since_unix_ms = {}});
    return drain(wanted);
  }

  io::TemporaryDirectory directory_;
};

TEST(LogLineTest, AreParsedAsTheLoggerWritesThem) {
  const LogLine line = parse_log_line(std::string(kTime) + " e some  text ");
  EXPECT_EQ(line.stream, v1::LOG_STREAM_STDERR);
  EXPECT_EQ(line.time_unix_ms, kTimeMs);
  EXPECT_EQ(line.text, "some  text ");
  EXPECT_EQ(parse_log_line(std::string(kTime) + " o ").text, "");
}

TEST(LogLineTest, WhatTheLoggerDidNotWriteIsText) {
  for (const char* text : {"", "x", "2025-06-01T12:00:00.123Z", "2025-06-01T12:00:00.123Z x text",
                           "2025-06-01 12:00:00.123Z o text", "aaaa-bb-ccTdd:ee:ff.gggZ o text"}) {
    const LogLine line = parse_log_line(text);
    EXPECT_EQ(line.text, text);
    EXPECT_FALSE(line.time_unix_ms);
    EXPECT_EQ(line.stream, v1::LOG_STREAM_UNSPECIFIED);
  }
}

TEST_F(LogReaderTest, LongLinesComeBackWhole) {
  const std::string text = std::string(20'000, 'x') + "\nends \\\n" + std::string(8192, 'y') + "\n";
  std::string written;
  runtime::LineSplitter('o').split(text, kTime, written);
  write(0, written);
  LogReader all = reader();
  EXPECT_EQ(drain(all), text);
}

TEST_F(LogReaderTest, NoLogIsAnEndAndTheFirstLineIsSeenLater) {
  LogReader all = reader();
  EXPECT_EQ(drain(all), "");
  write(0, line("first"));
  EXPECT_EQ(drain(all), "first\n");
  write(0, line("second"));
  EXPECT_EQ(drain(all), "second\n");
}

TEST_F(LogReaderTest, OldestFileFirst) {
  write(2, line("1"));
  write(1, line("2"));
  write(0, line("3", 'e'));
  LogReader all = reader();
  const auto first = all.read();
  ASSERT_TRUE(first);
  ASSERT_EQ(first->chunks.size(), 1u);
  EXPECT_EQ(first->chunks[0].stream(), v1::LOG_STREAM_STDOUT);
  EXPECT_EQ(first->chunks[0].time_unix_ms(), kTimeMs);
  EXPECT_EQ(drain(all), "2\n3\n");
}

TEST_F(LogReaderTest, FollowsOverRotations) {
  write(0, line("1"));
  LogReader all = reader();
  EXPECT_EQ(drain(all), "1\n");
  write(0, line("2"));  // not looked at before it is rotated
  rotate();
  EXPECT_EQ(drain(all), "2\n");
  write(0, line("3"));
  rotate();
  write(0, line("4"));
  rotate();
  write(0, line("5"));
  EXPECT_EQ(drain(all), "3\n4\n5\n");
}

TEST_F(LogReaderTest, GoesOnWhereItCanWhenItWasOvertaken) {
  write(0, line("1"));
  LogReader all = reader();
  EXPECT_EQ(drain(all), "1\n");
  rotate();
  write(0, line("2"));
  rotate();
  write(0, line("3"));
  ASSERT_EQ(::unlink((directory_ / "container.log.2").c_str()), 0);
  EXPECT_EQ(drain(all), "2\n3\n");
}

TEST_F(LogReaderTest, ALineIsGivenWhenItIsWhole) {
  write(0, line("1") + "2025-06-01T12:00:00.123Z o ha");
  LogReader all = reader();
  EXPECT_EQ(drain(all), "1\n");
  write(0, "lf\n");
  EXPECT_EQ(drain(all), "half\n");
}

TEST_F(LogReaderTest, WhatTheLoggerTakesBackIsForgotten) {
  write(0, line("1") + "2025-06-01T12:00:00.123Z o ha");
  LogReader all = reader();
  EXPECT_EQ(drain(all), "1\n");
  ASSERT_EQ(::truncate((directory_ / "container.log").c_str(), static_cast<off_t>(line("1").size())), 0);
  EXPECT_EQ(drain(all), "");
  write(0, line("2"));
  EXPECT_EQ(drain(all), "2\n");
}

TEST_F(LogReaderTest, TheTailIsCountedOverFiles) {
  write(1, line("1") + line("2"));
  write(0, line("3") + line("4"));
  EXPECT_EQ(tail(0), "");
  EXPECT_EQ(tail(1), "4\n");
  EXPECT_EQ(tail(2), "3\n4\n");
  EXPECT_EQ(tail(3), "2\n3\n4\n");
  EXPECT_EQ(tail(4), "1\n2\n3\n4\n");
  EXPECT_EQ(tail(99), "1\n2\n3\n4\n");
}

TEST_F(LogReaderTest, ATailOfNothingIsWhatComesNext) {
  write(0, line("1"));
  LogReader next = reader({.directory = {}, .tail_lines = 0, .since_unix_ms = {}});
  EXPECT_EQ(drain(next), "");
  write(0, line("2"));
  EXPECT_EQ(drain(next), "2\n");
}

TEST_F(LogReaderTest, ATailLongerThanOneReadIsFound) {
  std::string text;
  std::string expected;
  constexpr int kLines = 40'000;
  for (int i = 0; i < kLines; ++i) {
    text += line(std::format("line {}", i));
    if (i >= kLines - 30'000) expected += std::format("line {}\n", i);
  }
  ASSERT_GT(text.size(), 2 * LogReader::kReadBytes);
  write(0, text);
  EXPECT_EQ(tail(30'000), expected);
}

TEST_F(LogReaderTest, SinceIsATime) {
  write(0, "2025-06-01T12:00:00.122Z o early\n" + line("now") + "2025-06-01T12:00:01.000Z e late\n");
  LogReader since = reader({.directory = {}, .tail_lines = {}, .since_unix_ms = kTimeMs});
  EXPECT_EQ(drain(since), "now\nlate\n");
}

TEST_F(LogReaderTest, AFileWithoutLinesIsGivenInPieces) {
  write(0, std::string(3 * LogReader::kReadBytes, 'z'));
  LogReader all = reader();
  EXPECT_EQ(drain(all).size(), 3 * LogReader::kReadBytes);
}

TEST_F(LogReaderTest, ALinkInPlaceOfALogIsRefused) {
  ASSERT_EQ(::symlink("/etc/passwd", (directory_ / "container.log").c_str()), 0);
  LogReader all = reader();
  EXPECT_FALSE(all.read());
}

}  // namespace
}  // namespace perdure::node
