// Proves that lines are stamped, cut and kept apart, that files rotate within their limit, that two
// loggers of one directory do not mix lines, and that a full disk loses lines but says how many.
#include "runtime/log_file.h"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/test_support.h"

namespace perdure::runtime {
namespace {

using image::test::read_text;
using testing::HasSubstr;
using testing::MatchesRegex;

class LogFileTest : public testing::Test {
 protected:
  LogFile::Options options(std::uint64_t limit, int files) const {
    return {directory_.path(), limit, files};
  }
  std::string text(int index = 0) const {
    const std::string name = directory_.path() + "/container.log";
    return read_text(index == 0 ? name : name + "." + std::to_string(index));
  }
  bool exists(int index) const {
    return std::filesystem::exists(directory_.path() + "/container.log." + std::to_string(index));
  }

 private:
  image::test::TemporaryDirectory directory_;
};

TEST(LogTimeStampTest, IsRfc3339) {
  EXPECT_THAT(log_time_stamp(),
              MatchesRegex("20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
                           "\\.[0-9][0-9][0-9]Z"));
}

TEST(LineSplitterTest, StampsWholeLinesAndKeepsTheRest) {
  LineSplitter lines('o');
  std::string output;
  lines.split("one\ntw", "T1", output);
  EXPECT_EQ(output, "T1 o one\n");
  output.clear();
  lines.split("o\n\n", "T2", output);
  EXPECT_EQ(output, "T2 o two\nT2 o \n");
  output.clear();
  lines.split("rest", "T3", output);
  EXPECT_EQ(output, "");
  lines.finish("T4", output);
  EXPECT_EQ(output, "T4 o rest\n");
}

TEST(LineSplitterTest, LongLinesAreCut) {
  LineSplitter lines('e');
  const std::string line(2 * LineSplitter::kMaxLineBytes + 5, 'x');
  std::string output;
  for (std::size_t i = 0; i < line.size(); i += 1000)
    lines.split(line.substr(i, 1000), "T", output);
  lines.split("\n", "T", output);
  const std::string piece = "T e " + std::string(LineSplitter::kMaxLineBytes, 'x') + " \\\n";
  EXPECT_EQ(output, piece + piece + "T e xxxxx\n");
}

TEST(LineSplitterTest, LineOfExactlyTheLimitIsNotCut) {
  LineSplitter lines('e');
  std::string output;
  lines.split(std::string(LineSplitter::kMaxLineBytes, 'x') + "\n", "T", output);
  EXPECT_EQ(output, "T e " + std::string(LineSplitter::kMaxLineBytes, 'x') + "\n");
}

TEST_F(LogFileTest, RotatesAtTheLimitAndForgetsTheOldest) {
  LogFile log(options(10, 3));
  for (const char* line : {"line 1\n", "line 2\n", "line 3\n", "line 4\n"}) log.append(line);
  EXPECT_EQ(text(), "line 4\n");
  EXPECT_EQ(text(1), "line 3\n");
  EXPECT_EQ(text(2), "line 2\n");
  EXPECT_FALSE(exists(3));
}

TEST_F(LogFileTest, OneFileIsEmptiedAtTheLimit) {
  LogFile log(options(10, 1));
  log.append("line 1\n");
  log.append("line 2\n");
  EXPECT_EQ(text(), "line 2\n");
  EXPECT_FALSE(exists(1));
}

TEST_F(LogFileTest, AppendsToWhatIsThere) {
  {
    LogFile(options(1000, 2)).append("before\n");
  }
  LogFile(options(1000, 2)).append("after\n");
  EXPECT_EQ(text(), "before\nafter\n");
}

TEST_F(LogFileTest, TwoWritersShareOneDirectory) {
  std::atomic<int> lines = 0;
  constexpr int kLines = 500;
  {
    std::vector<std::jthread> writers;
    for (char tag : {'a', 'b'}) {
      writers.emplace_back([&, tag] {
        LogFile log(options(3000, 100));
        for (int i = 0; i < kLines; ++i) log.append(std::string(20, tag) + "\n");
      });
    }
  }
  for (int index = 0; index < 100 && (index == 0 || exists(index)); ++index) {
    const std::string content = text(index);
    EXPECT_LE(content.size(), 3000u);
    for (std::size_t at = 0; at < content.size(); at += 21) {
      const std::string line = content.substr(at, 21);
      EXPECT_TRUE(line == std::string(20, 'a') + "\n" || line == std::string(20, 'b') + "\n")
          << line;
      ++lines;
    }
  }
  EXPECT_EQ(lines.load(), 2 * kLines);
}

// RLIMIT_FSIZE stands for a full disk: write(2) fails or is short at the same place.
TEST_F(LogFileTest, FullDiskDropsWholeLinesAndSaysSo) {
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  LogFile log(options(1'000'000, 2));
  log.append("first\n");
  rlimit full = before;
  full.rlim_cur = 10;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  log.append("second line\nthird line\n");
  log.append("fourth line\n");
  EXPECT_EQ(log.dropped_lines(), 3u);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(text(), "first\n") << "no half line";
  log.append("fifth\n");
  EXPECT_EQ(log.dropped_lines(), 0u);
  EXPECT_THAT(text(), HasSubstr(" e [perdure: 3 lines were lost: File too large]\nfifth\n"));
}

TEST_F(LogFileTest, MissingDirectoryIsNoReasonToStop) {
  LogFile::Options gone = options(1000, 2);
  gone.directory += "/later";
  LogFile log(gone);
  log.append("lost\n");
  EXPECT_EQ(log.dropped_lines(), 1u);
  std::filesystem::create_directories(gone.directory);
  log.append("kept\n");
  EXPECT_THAT(read_text(gone.directory + "/container.log"), HasSubstr("1 lines were lost"));
}

}  // namespace
}  // namespace perdure::runtime
