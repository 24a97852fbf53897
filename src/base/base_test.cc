// Proves that names, generations, sizes and durations parse exactly what they print, and refuse the rest
// with a message that names the text.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <format>
#include <span>
#include <thread>

#include "base/clock.h"
#include "base/fd.h"
#include "base/ids.h"
#include "base/mountinfo.h"
#include "base/process_status.h"
#include "base/stable_hash.h"
#include "base/units.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace perdure {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""min;

TEST(ContainerNameTest, AcceptsLabelsAndRefusesPaths) {
  EXPECT_TRUE(ContainerName::parse("a"));
  EXPECT_TRUE(ContainerName::parse("vlc-1"));
  for (const char* bad : {"", "-a", "a-", "A", "a/b", "..", "a b", "a\n"}) {
    const auto parsed = ContainerName::parse(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalid);
  }
  EXPECT_TRUE(ContainerName::parse(std::string(63, 'x')));
  EXPECT_FALSE(ContainerName::parse(std::string(64, 'x')));
}

TEST(GenerationTest, PrintsAndParsesTheSame) {
  const Generation generation{Term{3}, Incarnation{0xdeadbeef}, 42};
  EXPECT_EQ(to_string(generation), "3.deadbeef.42");
  EXPECT_EQ(parse_generation("3.deadbeef.42").value(), generation);
  for (const char* bad : {"", "1", "1.2", "1.2.", ".2.3", "1.2.3.4", "1.g.3", "-1.2.3",
                          "99999999999999999999.1.1"}) {
    EXPECT_FALSE(parse_generation(bad)) << bad;
  }
}

TEST(GenerationTest, HigherTermOutranksHigherNumber) {
  EXPECT_LT((Generation{Term{1}, Incarnation{9}, 100}), (Generation{Term{2}, Incarnation{1}, 1}));
}

TEST(UnitsTest, ParsesDurationsAndSizes) {
  EXPECT_EQ(parse_duration("20ms").value(), 20ms);
  EXPECT_EQ(parse_duration("1.5 s").value(), 1500ms);
  EXPECT_EQ(parse_duration("0").value(), 0ms);
  EXPECT_EQ(parse_duration("2min").value(), 2min);
  EXPECT_EQ(parse_bytes("512MiB").value().count, 512u << 20);
  EXPECT_EQ(parse_bytes("1.5KB").value().count, 1500u);
}

TEST(UnitsTest, RefusalNamesTextAndUnits) {
  for (const char* bad : {"", "5", "ms", "-5ms", "5 parsecs", "1e400s", "nan s", "99999999999d", "5ms "}) {
    const auto parsed = parse_duration(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_THAT(parsed.error().message(), testing::HasSubstr(bad));
    EXPECT_THAT(parsed.error().message(), testing::HasSubstr("min"));
  }
}

TEST(UnitsTest, FormatsForPeople) {
  EXPECT_EQ(format_bytes(Bytes{31'400'000}), "31.4 MB");
  EXPECT_EQ(format_duration(Duration(18'300'000)), "18.3 ms");
  EXPECT_EQ(format_duration(184s), "3 min 4 s");
}

TEST(UnitsTest, ThreeDigitsBelowTheNextUnit) {
  EXPECT_EQ(format_bytes(Bytes{999'700}), "1 MB");
  EXPECT_EQ(format_bytes(Bytes{999'400}), "999 kB");
  EXPECT_EQ(format_duration(Duration(999'700)), "1 ms");
  EXPECT_EQ(format_duration(Duration(999'700'000)), "1 s");
}

TEST(ProcessStatTest, FieldsAreFoundBehindStrangeNames) {
  const std::string fields = " S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 111 222";
  const auto stat = parse_process_stat("7 (a) b (c) )" + fields);
  ASSERT_TRUE(stat.has_value()) << stat.error().message();
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->start_ticks, 987654u);
  EXPECT_FALSE(stat->ending);
  const std::string further = " 3 4 5 6 7 8 9 30 1 2 3 4 5 6 17 1 2 3 4 5 6 7 8 9 10 11 12";  // up to the last one but one
  for (const auto& [exit_code, killed] : {std::pair{9, true}, {139, true}, {0, false}, {SIGSTOP, false}, {SIGTTOU, false}, {7 << 8, false}}) {
    EXPECT_EQ(parse_process_stat(std::format("7 (a){}{} {}\n", fields, further, exit_code)).value().killed, killed) << exit_code;
  }
  for (const std::string state : {"t", "T", "Z", "X"}) {
    const std::string other = " " + state + fields.substr(2);
    EXPECT_FALSE(parse_process_stat(std::format("7 (a){}{} 9\n", other, further)).value().killed) << state;
  }
  EXPECT_FALSE(stat->killed) << "not told";
  EXPECT_TRUE(parse_process_stat("7 (a) Z 1 1 1 0 -1 4194564 1 2 3 4 5 6 7 8 20 0 1 0 1 0 0").value().ending);
  for (const std::string text : {"", "7 (a", "7 (a)", "7 (a) ", "7 (a) S 1", "7 (a) S 1 1 1 0 -1 x 1 2 3 4 5 6 7 8 20 0 1 0 1"}) {
    const auto wrong = parse_process_stat(text);
    ASSERT_FALSE(wrong.has_value()) << text;
    EXPECT_EQ(wrong.error().code(), ErrorCode::kCorrupt);
  }
}

TEST(ProcessStatTest, AZombieIsEndingAndNobodyIsNotFound) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(process_stat(child).value().state, 'Z');
  EXPECT_TRUE(process_stat(child).value().ending);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(process_stat(child).error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(process_stat(::getpid()).value().ending);
}

TEST(ProcessStatTest, AProcessIsEndingWhenAllOfItsThreadsAre) {
  EXPECT_FALSE(is_ending(::getpid()));
  const pid_t child = ::fork();
  if (child == 0) {
    std::thread([] { ::pause(); }).detach();
    ::syscall(SYS_exit, 0);  // the first thread alone
  }
  while (process_stat(child).value().state != 'Z') std::this_thread::yield();
  EXPECT_TRUE(process_stat(child).value().ending);
  EXPECT_FALSE(is_ending(child)) << "its other thread runs";
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  EXPECT_TRUE(is_ending(child)) << "whether or not that thread has run since";
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(is_ending(child));
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(is_ending(child));
}

TEST(ErrorTest, ErrnoBecomesTheCodeACallerReactsTo) {
  EXPECT_EQ(Error::from_errno("write", ENOSPC).code(), ErrorCode::kNoSpace);
  EXPECT_EQ(Error::from_errno("open", ENOENT).code(), ErrorCode::kNotFound);
  EXPECT_EQ(Error::from_errno("read", ESRCH).code(), ErrorCode::kNotFound);
  const Error error = Error::from_errno("open 'x'", ENOENT).context("start 'web'");
  EXPECT_EQ(error.message(), "start 'web': open 'x': No such file or directory");
}

TEST(MountinfoTest, ResolvesEscapesAndOptionalFields) {
  const auto entries = parse_mountinfo(
      "36 35 98:0 /mnt1 /a\\040b rw,noatime master:1 shared:2 - ext4 /dev/root rw,errors=continue\n"
      "99 36 0:40 / /m rw - overlay overlay rw,lowerdir=/l\n");
  ASSERT_TRUE(entries) << entries.error().message();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].mount_point, "/a b");
  EXPECT_THAT((*entries)[0].propagation, testing::ElementsAre("master:1", "shared:2"));
  EXPECT_EQ((*entries)[1].type, "overlay");
  EXPECT_EQ((*entries)[1].super_options, "rw,lowerdir=/l");
  EXPECT_EQ(parse_mountinfo("1 2 3\n").error().code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(read_mountinfo());
}

TEST(StableHashTest, IsTheSameInEveryRelease) {
  EXPECT_EQ(stable_hash(""), 0xefd01f60ba992926u);
  EXPECT_EQ(stable_hash("cluster/web"), 0x064859f65e22b1afu);
  EXPECT_EQ(stable_hash(std::string_view("web\0", 4)), 0xa39a737ea37e7766u);
}

TEST(ReadTest, FillsOverShortTransfersUpToTheEnd) {
  auto pipe = make_pipe().value();
  std::thread writer([end = std::move(pipe.write_end)] {
    for (const char* part : {"a", "bc", "d"}) {
      (void)write_all(end.get(), std::as_bytes(std::span(std::string_view(part))), "to a pipe");
    }
  });
  std::array<char, 3> three{};
  EXPECT_EQ(read_up_to(pipe.read_end.get(), std::as_writable_bytes(std::span(three)), "a pipe").value(), 3u);
  EXPECT_EQ(std::string_view(three.data(), 3), "abc");
  EXPECT_EQ(read_rest(pipe.read_end.get(), 100, "a pipe").value(), "d");
  EXPECT_EQ(read_up_to(pipe.read_end.get(), std::as_writable_bytes(std::span(three)), "a pipe").value(), 0u);
  writer.join();
}

TEST(ReadTest, FromAnOffset) {
  const UniqueFd file(::memfd_create("text", MFD_CLOEXEC));
  ASSERT_TRUE(write_all(file.get(), std::as_bytes(std::span(std::string_view("0123456789"))), "text"));
  std::array<char, 4> four{};
  const auto bytes = std::as_writable_bytes(std::span(four));
  EXPECT_EQ(read_at(file.get(), bytes, 2, "text").value(), 4u);
  EXPECT_EQ(std::string_view(four.data(), 4), "2345");
  EXPECT_EQ(read_at(file.get(), bytes, 8, "text").value(), 2u);
  EXPECT_EQ(read_at(-1, bytes, 0, "text").error().message(), "read text: Bad file descriptor");
}

TEST(ProcessStatusTest, GivesTheLastWordOfAField) {
  EXPECT_EQ(process_status_word(::getpid(), "Pid").value(), std::to_string(::getpid()));
  EXPECT_EQ(process_status_word(::getpid(), "ShdPnd").value(), "0000000000000000");
  EXPECT_EQ(process_status_word(::getpid(), "pid").error().code(), ErrorCode::kUnsupported) << "within PPid, TracerPid";
  EXPECT_FALSE(process_status_word(0x3fffffff, "Pid")) << "nobody";
}

TEST(ReadFileTest, RefusesBeyondTheLimit) {
  EXPECT_EQ(read_file("/proc/self/status", 10).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(read_file("/nonexistent").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace perdure
