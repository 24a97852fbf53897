// Proves that a person gets runc's reason, not its log format.
#include "runtime/runc_log.h"

#include "gtest/gtest.h"

namespace perdure::runtime {
namespace {

TEST(RuncLogTest, TakesTheErrorsOnly) {
  EXPECT_EQ(last_runc_errors("time=\"2025\" level=warning msg=\"harmless\"\n"
                             "time=\"2025\" level=error msg=\"exec: \\\"/x\\\": not found\"\n"),
            "exec: \"/x\": not found");
}

TEST(RuncLogTest, JoinsTheLastThree) {
  std::string log;
  for (int i = 0; i < 5; ++i) log += " level=error msg=e" + std::to_string(i) + "\n";
  EXPECT_EQ(last_runc_errors(log), "e2; e3; e4");
}

TEST(RuncLogTest, FallsBackToTheLastLine) {
  EXPECT_EQ(last_runc_errors("panic: oh\n"), "panic: oh");
  EXPECT_EQ(last_runc_errors(""), "no reason given");
}

}  // namespace
}  // namespace perdure::runtime
