// The event log: numbers rise over restarts, torn and foreign lines cost nothing but themselves, the file is
// bounded, a disk that refuses costs no event in memory. The file is written and damaged by hand.
#include "node/event_log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>
#include <vector>

#include "gtest/gtest.h"
#include "io/test_support.h"

namespace perdure::node {
namespace {

using control::v1::Event;

class EventLogTest : public ::testing::Test {
 protected:
  EventLog open(EventLogOptions options = {}) {
    if (options.path.empty()) options.path = path_;
    auto log = EventLog::open(options, clock_);
    EXPECT_TRUE(log) << log.error().message();
    return *std::move(log);
  }
  static Event event(const std::string& kind) {
    Event event;
    event.set_kind(kind);
    event.set_container("web");
    event.set_text("text of " + kind);
    return event;
  }
  static std::vector<std::string> kinds(const EventLog& log) {
    std::vector<std::string> kinds;
    for (const Event& recent : log.recent()) kinds.push_back(recent.kind());
    return kinds;
  }
  void append_raw(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }

  io::TemporaryDirectory directory_;
  std::string path_ = directory_ / "events.jsonl";
  ManualClock clock_;
};

TEST_F(EventLogTest, WhatWasWrittenIsThereAfterARestartAndNumbersGoOn) {
  Event full = event("restored");
  full.set_severity(control::v1::SEVERITY_WARNING);
  full.set_reason("init exited with status 1");
  full.set_generation("1.2.3");
  (*full.mutable_durations_ns())["restored"] = 5;
  {
    EventLog log = open();
    log.append(event("started"));
    clock_.advance(std::chrono::seconds(1));
    log.append(full);
  }
  EventLog log = open();
  ASSERT_EQ(log.recent().size(), 2u);
  const Event& read = log.recent()[1];
  EXPECT_EQ(read.sequence(), 2u);
  EXPECT_EQ(read.time_unix_ms() - log.recent()[0].time_unix_ms(), 1000);
  EXPECT_EQ(read.severity(), control::v1::SEVERITY_WARNING);
  EXPECT_EQ(read.container(), "web");
  EXPECT_EQ(read.text(), "text of restored");
  EXPECT_EQ(read.reason(), "init exited with status 1");
  EXPECT_EQ(read.generation(), "1.2.3");
  EXPECT_EQ(read.durations_ns().at("restored"), 5);
  EXPECT_EQ(log.recent()[0].severity(), control::v1::SEVERITY_INFO) << "what says nothing is news";
  log.append(event("more"));
  EXPECT_EQ(log.recent().back().sequence(), 3u);
}

TEST_F(EventLogTest, TornAndForeignLinesAreSkippedAndTheNextOneIsWhole) {
  open().append(event("first"));
  append_raw("no json\n{\"sequence\": 0}\n[1,2]\n{\"sequence\":9,\"time_unix_ms\":1,\"sev");
  {
    EventLog log = open();
    EXPECT_EQ(kinds(log), std::vector<std::string>{"first"});
    log.append(event("second"));
  }
  EXPECT_EQ(kinds(open()), (std::vector<std::string>{"first", "second"}));
}

TEST_F(EventLogTest, TextThatIsNoUtf8IsKeptReadable) {
  Event broken = event("odd");
  broken.set_reason("a\xff" "b");
  open().append(broken);
  EventLog log = open();
  ASSERT_EQ(log.recent().size(), 1u);
  EXPECT_EQ(log.recent()[0].reason(), "a\xef\xbf\xbd" "b");
}

TEST_F(EventLogTest, TheFileIsBoundedAndItsPredecessorCounts) {
  constexpr std::uint64_t kLimit = 1000;
  {
    EventLog log = open({.path = path_, .file_limit_bytes = kLimit});
    for (int i = 0; i < 100; ++i) log.append(event("e" + std::to_string(i)));
  }
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_LE(status.st_size, static_cast<off_t>(kLimit));
  ASSERT_EQ(::stat((path_ + ".1").c_str(), &status), 0);
  EXPECT_LE(status.st_size, static_cast<off_t>(kLimit));
  EXPECT_NE(::stat((path_ + ".2").c_str(), &status), 0);
  EventLog log = open();
  EXPECT_GT(log.recent().size(), 6u) << "of both files";
  EXPECT_EQ(log.recent().back().sequence(), 100u);
  // A rotation right before the end of the daemon leaves an empty file: the numbers are in the other one.
  ASSERT_EQ(::truncate(path_.c_str(), 0), 0);
  EventLog after = open();
  after.append(event("next"));
  EXPECT_GT(after.recent().back().sequence(), 90u);
}

TEST_F(EventLogTest, MemoryIsBounded) {
  EventLog log = open({.path = path_, .keep_in_memory = 3});
  for (const char* kind : {"a", "b", "c", "d", "e"}) log.append(event(kind));
  EXPECT_EQ(kinds(log), (std::vector<std::string>{"c", "d", "e"}));
  EXPECT_EQ(kinds(open({.path = path_, .keep_in_memory = 2})), (std::vector<std::string>{"d", "e"}));
}

TEST_F(EventLogTest, AFullDiskLosesNoEventInMemory) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  ASSERT_EQ(::symlink("/dev/full", path_.c_str()), 0);
  EventLog log = open();
  log.append(event("lost on disk"));
  log.append(event("this one too"));
  EXPECT_EQ(log.recent().size(), 2u);
}

TEST_F(EventLogTest, AFileThatCannotBeOpenedIsAnError) {
  const auto log = EventLog::open({.path = "/nowhere/events"}, clock_);
  ASSERT_FALSE(log);
  EXPECT_NE(log.error().message().find("/nowhere/events"), std::string::npos);
}

TEST_F(EventLogTest, SubscribersAreToldAndMayLeaveMeanwhile) {
  EventLog log = open();
  std::vector<std::string> told;
  std::uint64_t once = 0;
  once = log.subscribe([&](const Event& event) {
    told.push_back("once " + event.kind());
    log.unsubscribe(once);
  });
  const std::uint64_t other = log.subscribe([&](const Event& event) { told.push_back("other " + event.kind()); });
  log.append(event("a"));
  log.append(event("b"));
  log.unsubscribe(other);
  log.append(event("c"));
  EXPECT_EQ(told, (std::vector<std::string>{"once a", "other a", "other b"}));
}

}  // namespace
}  // namespace perdure::node
