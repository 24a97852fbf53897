// Proves that configurations and reports come back as they were written, and that what nobody wrote is
// refused and never read past its end.
#include <format>
#include <random>

#include "agent/configuration.h"
#include "agent/report.h"
#include "agent/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace perdure::agent {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

Configuration everything() {
  Configuration it{.report_to = "perdure-agent", .stop_signal = 3, .components = {}};
  Component db{.name = "db",
               .command = {"/usr/bin/db", "--name=a b", "", "100%", "new\nline", "\xc3\xa4"},
               .environment = {"PATH=/bin", "EMPTY="},
               .directory = "/var/lib/my db",
               .uid = 70,
               .gid = 71,
               .groups = {7, 4294967295},
               .limits = {.open_files = 1024, .core_size = 0, .file_size = std::uint64_t{1} << 40, .address_space = 4096},
               .restart = {.always = true, .limit = 5, .window = 60s, .delay = 100ms, .delay_limit = 10s},
               .stop_signal = 2,
               .stop_deadline = 7s};
  const ProbeKind kinds[] = {ExecProbe{{"/bin/check", "-x"}}, TcpProbe{"::1", 65535}, HttpProbe{"127.0.0.1", 80, "/a?b=%20"},
                             RtspProbe{"10.0.0.1", 8554},     UnixProbe{"/run/x y"},  FileProbe{"/run/alive", 3s}};
  for (const ProbeKind& kind : kinds) {
    Component one = db;
    one.name = std::format("c{}", it.components.size());
    one.stateful = it.components.size() % 2 == 0;
    one.probe = Probe{.kind = kind, .interval = 1s, .timeout = 500ms, .failures = 3, .successes = 2, .grace = 10s};
    if (!it.components.empty()) {
      one.depends_on = {{.component = it.components.size() - 1, .until = Until::kFinished, .on_restart = Dependency::OnRestart::kSignal, .signal = 1}};
    }
    it.components.push_back(std::move(one));
  }
  return it;
}

TEST(ConfigurationCodecTest, ComesBackAsItWasWritten) {
  const Configuration it = everything();
  const auto back = parse_configuration(to_text(it));
  ASSERT_TRUE(back.value) << back.error;
  EXPECT_EQ(*back.value, it);
}

TEST(ConfigurationCodecTest, RefusesWhatCannotBeRun) {
  const auto error = [](auto change) {
    Configuration it = everything();
    change(it);
    const auto parsed = parse_configuration(to_text(it));
    return parsed.value ? "accepted" : parsed.error;
  };
  EXPECT_EQ(error([](Configuration& it) { it.components.clear(); }), "there are no components");
  EXPECT_EQ(error([](Configuration& it) { it.components[1].name = "c0"; }), "component 'c0' is there twice");
  EXPECT_EQ(error([](Configuration& it) { it.components[0].command.clear(); }), "component 'c0' has no command");
  EXPECT_EQ(error([](Configuration& it) { it.components[0].directory = "here"; }), "component 'c0' has no directory");
  EXPECT_EQ(error([](Configuration& it) { it.components[0].depends_on = {{.component = 0}}; }), "component 'c0' depends on what is not there");
  EXPECT_EQ(error([](Configuration& it) { it.components[0].depends_on = {{.component = 5}}; }), "the dependencies are circular");
  EXPECT_THAT(error([](Configuration& it) { it.components[0].stop_signal = 65; }), HasSubstr("malformed"));
  EXPECT_THAT(error([](Configuration& it) { it.components[0].probe->failures = 0; }), HasSubstr("malformed"));
  EXPECT_EQ(error([](Configuration& it) { it.components.resize(kMaxComponents + 1, it.components[0]); }), "there are too many components");
}

TEST(ConfigurationCodecTest, RefusesEveryPartOfOne) {
  const std::string text = to_text(everything());
  for (std::size_t size = 0; size < text.size(); ++size) {
    const auto parsed = parse_configuration(std::string_view(text).substr(0, size));
    // Cut at the end of a line it may be a whole one, of fewer components.
    if (parsed.value) {
      EXPECT_EQ(text[size - 1], '\n');
    }
  }
}

Report a_report() {
  return {.life = 0x7fffffffffffffff,
          .sequence = 12,
          .components = {{.name = "db", .state = ComponentState::kFailing, .stateful = true, .probed = true, .pid = 7, .restarts = 3, .failures = 2,
                          .trouble = "does not answer: 127.0.0.1:80: Connection refused, 2 times in a row", .passed_realtime_ns = 1'700'000'000'000'000'000,
                          .passed_age_ns = 5},
                         {.name = "web", .state = ComponentState::kStopped, .stateful = false}},
          .ending = Ending{101, "db", "was killed by signal 9 (KILL)"}};
}

TEST(ReportCodecTest, ComesBackAsItWasWritten) {
  const auto back = parse_report(to_text(a_report()));
  ASSERT_TRUE(back.value) << back.error;
  EXPECT_EQ(*back.value, a_report());
}

TEST(ReportCodecTest, BoundsWhatIsForPeople) {
  Report report = a_report();
  report.components[0].trouble = std::string(1000, 'x');
  const auto back = parse_report(to_text(report));
  ASSERT_TRUE(back.value) << back.error;
  EXPECT_EQ(back.value->components[0].trouble.size(), kMaxReasonBytes);
}

TEST(ReportCodecTest, RefusesWhatNoAgentSends) {
  const std::string good = to_text(a_report());
  for (const std::string& text :
       {std::string(), std::string("\n"), good.substr(0, good.size() - 1), "x" + good, good + "component a 0 0 0 0 0 0 0 0\n",
        good + "ending 1 a b\n", good + "component b 9 0 0 0 0 0 0 0 %\n", good + "component b 0 0 0 0 0 0 0 0 %4\n", good + "\n", good + " \n"}) {
    const auto parsed = parse_report(text);
    EXPECT_FALSE(parsed.value) << text;
    EXPECT_NE(parsed.error, "");
  }
  std::string many = "perdure-agent-report 1 1 1\n";
  for (std::size_t i = 0; i <= kMaxComponents; ++i) many += "component a 0 0 0 0 0 0 0 0 %\n";
  EXPECT_FALSE(parse_report(many).value);
  EXPECT_FALSE(parse_report(std::string(kMaxReportBytes + 1, 'x')).value);
}

TEST(TextTest, EveryByteComesBack) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  EXPECT_EQ(unescaped(escaped(bytes)), bytes);
  EXPECT_EQ(unescaped(escaped("")), "");
  EXPECT_EQ(escaped(bytes).find_first_of(" \n\t"), std::string::npos);
  for (const char* bad : {"%4", "a%", "%%", "%zz", "%4g"}) EXPECT_FALSE(unescaped(bad)) << bad;
}

}  // namespace
}  // namespace perdure::agent
