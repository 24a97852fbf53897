// Proves that the table of options, the structs and docs/recovery.md say the same, that every
// default is inside its range, and that a spec's words arrive.
#include "policy/options.h"

#include <fstream>
#include <set>
#include <sstream>

#include "gtest/gtest.h"
#include "model/spec.h"

namespace perdure::policy {
namespace {

using std::chrono_literals::operator""min;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

TEST(OptionsTest, EveryDefaultIsInsideItsRangeAndHasAReason) {
  EXPECT_TRUE(validate({}).has_value());
  std::set<std::string_view> names;
  for (const auto& row : option_table()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name << " occurs twice";
    EXPECT_LT(row.minimum, row.maximum) << row.name;
    EXPECT_FALSE(row.reason.empty()) << row.name;
  }
  EXPECT_EQ(names.size(), 26U) << "a member was added: give it a row";
}

TEST(OptionsTest, WhatIsOutOfRangeIsRefusedWithNameValueAndRange) {
  ContainerOptions options;
  options.probation = 2 * 60min;
  const Status status = validate(options);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(status.error().message(), "option probation is 2 h 0 min: allowed are 0 to 1 h 0 min");
}

TEST(OptionsTest, TheManualPrintsTheTable) {
  std::ifstream file(PERDURE_RECOVERY_MANUAL);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(text.str().contains(option_table_markdown())) << "put this into docs/recovery.md:\n"
                                                            << option_table_markdown();
}

TEST(OptionsTest, ASpecsWordsArrive) {
  model::ContainerSpec spec{.name = ContainerName::parse("web").value()};
  spec.checkpoint.interval = 500ms;  // of the state sensitivity
  spec.checkpoint.interval_source = model::IntervalSource::kStateSensitivity;
  spec.checkpoint.cpu_budget_percent = 35;
  spec.checkpoint.generations_kept = 7;
  spec.restart.max_restores = 9;
  spec.restart.window = 2min;
  spec.restart.probation = 4s;
  spec.restart.cold_start = model::ColdStart::kNever;
  spec.stop.deadline = 3s;
  const ContainerOptions options = options_from(spec);
  EXPECT_EQ(options.schedule.interval, 250ms) << "a restored state must still be worth something";
  EXPECT_EQ(options.schedule.interval_source, IntervalSource::kStateSensitivity);
  EXPECT_EQ(options.schedule.cpu_budget_percent, 35U);
  EXPECT_EQ(options.keep_generations, 7U);
  EXPECT_EQ(options.max_restores, 9U);
  EXPECT_EQ(options.restore_window, 2min);
  EXPECT_EQ(options.probation, 4s);
  EXPECT_EQ(options.cold_start, ColdStart::kNever);
  EXPECT_EQ(options.stop_deadline, 3s);
}

}  // namespace
}  // namespace perdure::policy
