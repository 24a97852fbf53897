// The fixture of the tests of a StandbyTable, and what they ask of one. Test programs only.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

#include "replica/standby_world.h"

namespace perdure::replica::testing {

using capsule::testing::generation;
using capsule::testing::same_state;

inline constexpr std::uint64_t kPage = capsule::kPageSize;

inline Holding hold(StandbyTable& table, const ReceivedCapsule& received) {
  const auto receipt = table.receive(received);
  EXPECT_TRUE(receipt) << receipt.error().message();
  if (!receipt) return {};
  EXPECT_EQ(receipt->holding.generation, received.generation);
  return receipt->holding;
}

inline ErrorCode refusal(StandbyTable& table, const ReceivedCapsule& received) {
  const auto receipt = table.receive(received);
  EXPECT_FALSE(receipt);
  return receipt ? ErrorCode::kExists : receipt.error().code();
}

// Of the container, oldest first.
inline std::vector<std::uint64_t> held_numbers(StandbyTable& table, const TestOwner& owner,
                                               std::uint64_t up_to = 40) {
  std::vector<std::uint64_t> numbers;
  for (const Term term : {Term{3}, Term{4}}) {
    for (std::uint64_t number = 0; number <= up_to; ++number) {
      if (table.fetch(owner.container, generation(number, 0x1f, term.value)))
        numbers.push_back(number);
    }
  }
  return numbers;
}

inline void expect_newest(StandbyTable& table, TestOwner& owner, const Generation& id) {
  const auto fetched = table.fetch(owner.container, std::nullopt);
  ASSERT_TRUE(fetched) << fetched.error().message();
  EXPECT_TRUE(same_state(**fetched, owner.capsule(id)));
}

class StandbyTableTest : public ::testing::Test {
 protected:
  void restart(Bytes budget, std::size_t max_chain = 16) {
    table_.reset();
    table_ = std::make_unique<StandbyTable>(disk_.options(budget, max_chain));
  }
  StandbyTable& table() {
    if (table_ == nullptr) restart(Bytes{std::uint64_t{64} << 20});
    return *table_;
  }
  // A full one, and deltas on it up to `last`.
  Holding fill(std::uint64_t last, std::uint64_t first = 1) {
    Holding newest = hold(table(), owner_.full(generation(first)));
    for (std::uint64_t number = first + 1; number <= last; ++number) {
      newest = hold(table(), owner_.delta(generation(number), newest));
    }
    return newest;
  }

  TestDisk disk_;
  std::unique_ptr<StandbyTable> table_;
  TestOwner owner_{"web"};
};

}  // namespace perdure::replica::testing
