// Proves which connections a generation may lack, as owner and standby both count them.
#include "node/young_connections.h"

#include <cstdint>

#include "gmock/gmock.h"

namespace perdure::node {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

network::TcpTuple from(std::uint16_t port) {
  network::TcpTuple tuple;
  tuple.local = {{network::IpFamily::kV4, {192, 0, 2, 1}}, 80};
  tuple.remote = {{network::IpFamily::kV4, {192, 0, 2, 2}}, port};
  return tuple;
}

class YoungConnectionsTest : public ::testing::Test {
 protected:
  void begin(std::vector<network::TcpTuple> begun) { young_.add(begun); }
  YoungConnections young_;
};

TEST_F(YoungConnectionsTest, OneIsKnownUntilMoreGenerationsFollowThanAreGoneBackBehind) {
  begin({from(1)});
  young_.generation_added();
  begin({from(2)});
  for (std::uint64_t n = 1; n < YoungConnections::kGenerationsBack; ++n) young_.generation_added();
  begin({from(3)});
  EXPECT_THAT(young_.all(), ElementsAre(from(1), from(2), from(3)));
  young_.generation_added();
  EXPECT_THAT(young_.all(), ElementsAre(from(2), from(3)));
  for (std::uint64_t n = 0; n < YoungConnections::kGenerationsBack; ++n) young_.generation_added();
  EXPECT_THAT(young_.all(), IsEmpty());
}

TEST_F(YoungConnectionsTest, OneThatIsToldAgainIsThereOnceAndAsYoungAsItWasToldLast) {
  begin({from(1), from(2), from(1)});
  EXPECT_THAT(young_.all(), ElementsAre(from(2), from(1)));
  young_.generation_added();
  begin({from(2)});
  EXPECT_THAT(young_.all(), ElementsAre(from(1), from(2)));
  for (std::uint64_t n = 0; n < YoungConnections::kGenerationsBack; ++n) young_.generation_added();
  EXPECT_THAT(young_.all(), ElementsAre(from(2)));
}

TEST_F(YoungConnectionsTest, OfTooManyTheNewestAreKept) {
  std::vector<network::TcpTuple> many;
  for (std::size_t i = 0; i < YoungConnections::kMax + 3; ++i) many.push_back(from(static_cast<std::uint16_t>(i)));
  begin(many);
  EXPECT_EQ(young_.all(), std::vector(many.begin() + 3, many.end()));
  begin({from(3)});
  EXPECT_EQ(young_.all().size(), YoungConnections::kMax) << "one that is known takes no other's place";
  EXPECT_EQ(young_.all().back(), from(3));
}

}  // namespace
}  // namespace perdure::node
