// Pieces of the conversion to control.proto that need no container; the rest is seen through the control socket
// (change_requests_test.cc, read_requests_test.cc).
#include "node/status_codec.h"

#include <format>

#include "control_limits.h"
#include "gtest/gtest.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

TEST(StatusCodecTest, EveryErrorCodeHasItsOwn) {
  const std::vector<std::pair<ErrorCode, v1::ErrorCode>> kCodes{
      {ErrorCode::kInvalid, v1::ERROR_INVALID},         {ErrorCode::kNotFound, v1::ERROR_NOT_FOUND},
      {ErrorCode::kExists, v1::ERROR_EXISTS},           {ErrorCode::kConflict, v1::ERROR_CONFLICT},
      {ErrorCode::kUnsupported, v1::ERROR_UNSUPPORTED}, {ErrorCode::kCorrupt, v1::ERROR_CORRUPT},
      {ErrorCode::kNoSpace, v1::ERROR_NO_SPACE},        {ErrorCode::kTimeout, v1::ERROR_TIMEOUT},
      {ErrorCode::kTransient, v1::ERROR_TRANSIENT},     {ErrorCode::kPermission, v1::ERROR_PERMISSION},
      {ErrorCode::kCancelled, v1::ERROR_CANCELLED},     {ErrorCode::kIo, v1::ERROR_IO},
  };
  for (const auto& [ours, theirs] : kCodes) EXPECT_EQ(to_proto(ours), theirs);
}

TEST(StatusCodecTest, OnlyTheLinesOfCriuAreItsLines) {
  EXPECT_TRUE(criu_lines("").empty());
  EXPECT_TRUE(criu_lines("the disk is full\nindeed").empty());
  EXPECT_EQ(criu_lines("dump of 'web': Error (criu/a.c:1): x\nwhat it means\nError (criu/b.c:2): y"),
            (std::vector<std::string>{"Error (criu/a.c:1): x", "Error (criu/b.c:2): y"}));
}

TEST(StatusCodecTest, TheLastLinesOfCriuCount) {
  std::string error;
  constexpr std::size_t kLines = control::kMaxCriuLines + 5;
  for (std::size_t i = 0; i < kLines; ++i) error += std::format("Error (criu/a.c:{}): x\n", i);
  const std::vector<std::string> lines = criu_lines(error);
  ASSERT_EQ(lines.size(), control::kMaxCriuLines);
  EXPECT_EQ(lines.front(), "Error (criu/a.c:5): x");
}

TEST(StatusCodecTest, WhatIsNotKnownOfARestoreIsAbsent) {
  RestoreReport report;
  report.reason = "init exited with status 1";
  const v1::RestoreRecord afresh = to_proto(report);
  EXPECT_TRUE(afresh.generation().empty());
  EXPECT_FALSE(afresh.has_lost_ns() || afresh.has_noticed_ns() || afresh.has_first_packet_ns());
  report.generation = Generation{Term{1}, Incarnation{0x1f}, 7};
  report.lost = std::chrono::milliseconds(3);
  EXPECT_EQ(to_proto(report).generation(), "1.1f.7");
  EXPECT_EQ(to_proto(report).lost_ns(), 3'000'000);
}

TEST(StatusCodecTest, PagesAreCounted) {
  CaptureReport report;
  report.stats.memory = Bytes{40'960};
  report.stats.memory_changed = Bytes{4'096};
  report.full = Bytes{50'000};
  report.kept = Bytes{5'000};
  const v1::Capture capture = to_proto(report);
  EXPECT_EQ(capture.total_pages(), 10u);
  EXPECT_EQ(capture.dirty_pages(), 1u);
  EXPECT_EQ(capture.full_bytes(), 50'000u);
  EXPECT_EQ(capture.kept_bytes(), 5'000u);
}

}  // namespace
}  // namespace perdure::node
