#include "deploy/availability.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "deploy/test_support.h"

namespace perdure::deploy {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

Availability of(const std::string& yaml, const std::vector<std::string>& nodes) {
  const model::Application application = test::application(yaml);
  return availability_of(application, test::plan(application, test::cluster(nodes)), {});
}

TEST(Availability, AStandbyTurnsHoursIntoATakeover) {
  constexpr const char* kOne = "components: [{name: db, command: [db], provides: [{name: db, state: stateful}]}]\n";
  const Availability with = of(kOne, {"a", "b"});
  const Availability without = of(kOne, {"a"});
  EXPECT_DOUBLE_EQ(with.unavailability, 0.5 / (8766.0 * 3600 + 0.5));
  EXPECT_DOUBLE_EQ(without.unavailability, 4.0 / (8766 + 4));
  EXPECT_THAT(with.containers[0].shares[0].cause, HasSubstr("takes over"));
  EXPECT_TRUE(with.mttf_missing);
}

TEST(Availability, OwnFailuresCountByTheirScope) {
  const Availability availability = of(R"(
components:
  - {name: db, command: [db], provides: [{name: db, state: stateful}], mttf: 1000h}
  - {name: web, command: [web], mttf: 1000h, recovery-time: 36s}
)", {"a", "b"});
  EXPECT_FALSE(availability.mttf_missing);
  ASSERT_EQ(availability.containers.size(), 2U);
  EXPECT_EQ(availability.containers[0].shares[0].lasts, 200ms) << "restored in place";
  EXPECT_DOUBLE_EQ(availability.containers[1].shares[0].unavailability, 0.01 / (1000 + 0.01));
  EXPECT_EQ(availability.containers[1].shares[1].lasts, 500ms + 36s) << "afresh on the other node";
}

TEST(Availability, ReplicasAreMissedOnlyTogether) {
  const Availability one = of("placement: {standbys: 0}\ncomponents: [{name: web, command: [web]}]\n", {"a", "b"});
  const Availability two = of("placement: {standbys: 0}\ncomponents: [{name: web, command: [web], replicas: 2}]\n", {"a", "b"});
  EXPECT_DOUBLE_EQ(two.unavailability, one.unavailability * one.unavailability);
}

TEST(Availability, WhatEveryDependentSurvivesIsNotSeen) {
  const std::string pair = "components:\n"
                           "  - {name: web, command: [web], requires: [{interface: db, outage-tolerance: TOLERANCE}]}\n"
                           "  - {name: db, command: [db], provides: [{name: db, state: stateful}]}\n";
  const auto with = [&](const char* tolerance) {
    std::string text = pair;
    return of(text.replace(text.find("TOLERANCE"), 9, tolerance), {"a", "b"});
  };
  EXPECT_TRUE(with("1s").containers[1].hidden);
  EXPECT_FALSE(with("100ms").containers[1].hidden);
  EXPECT_LT(with("1s").unavailability, with("100ms").unavailability);
}

TEST(Availability, Nines) {
  EXPECT_NEAR(nines_of(0.001), 3, 1e-9);
  EXPECT_NEAR(nines_of(0.00002), 4.7, 0.01);
  EXPECT_EQ(nines_of(0), 9);
  EXPECT_EQ(nines_of(1e-14), 9);
  EXPECT_EQ(nines_of(1), 0);
}

}  // namespace
}  // namespace perdure::deploy
