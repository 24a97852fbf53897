// Proves that the offset of a time namespace is read as the kernel writes it, and that instants
// survive the way to a BPF program and back. gate_test.cc proves it against a namespace.
#include "network/kernel_clock.h"

#include "gmock/gmock.h"

namespace perdure::network {
namespace {

using std::chrono_literals::operator""ns;
using std::chrono_literals::operator""s;

TEST(KernelClock, OffsetIsReadAsTheKernelWritesIt) {
  EXPECT_EQ(parse_boottime_offset("monotonic           0         0\nboottime            0         0\n").value(), 0s);
  EXPECT_EQ(parse_boottime_offset("monotonic           7         0\nboottime        86400        12\n").value(),
            86400s + 12ns);
  EXPECT_EQ(parse_boottime_offset("boottime  -5 400000000\nmonotonic 0 0\n").value(), -5s + 400000000ns);
}

TEST(KernelClock, WhatIsNoOffsetIsRefused) {
  for (const std::string_view text :
       {"", "monotonic 0 0\n", "boottime\n", "boottime 5\n", "boottime 5 x\n", "boottime 5 1000000000\n",
        "boottime 5 -1\n", "boottime 99999999999999 0\n", "boottime 1 2 3\n", "xboottime 1 2\n"}) {
    EXPECT_EQ(parse_boottime_offset(text).error().code(), ErrorCode::kCorrupt) << text;
  }
}

TEST(KernelClock, InstantsGoToTheKernelAndBack) {
  const KernelClock clock(3600s);
  EXPECT_EQ(clock.to_kernel(Instant(3601s)), 1'000'000'000u);
  EXPECT_EQ(clock.from_kernel(1'000'000'000u), Instant(3601s));
  EXPECT_EQ(clock.to_kernel(Instant(10s)), 0u) << "before the boot is long past";
}

TEST(KernelClock, ThisProcessHasOne) {
  EXPECT_TRUE(KernelClock::of_this_process().has_value());
}

}  // namespace
}  // namespace perdure::network
