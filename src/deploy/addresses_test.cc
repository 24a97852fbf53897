#include "deploy/addresses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "deploy/test_support.h"

namespace perdure::deploy {
namespace {

using ::testing::HasSubstr;

model::Ipv4Address address(const char* text) { return model::Ipv4Address::parse(text).value(); }

std::vector<std::string> assigned(const std::string& yaml, const TakenAddresses& taken) {
  const model::Application application = test::application(yaml);
  const auto addresses = assign_addresses(application, placement::group_components(application), taken);
  if (!addresses) return {addresses.error().message()};
  std::vector<std::string> texts;
  for (const auto& one : *addresses) texts.push_back(one ? model::to_string(*one) : "-");
  return texts;
}

TEST(Addresses, TheLowestThatIsFree) {
  EXPECT_EQ(assigned(test::kPair, {}), (std::vector<std::string>{"192.0.2.20/24", "192.0.2.21/24"}));
  EXPECT_EQ(assigned(test::kPair, {.foreign = {address("192.0.2.20")}}), (std::vector<std::string>{"192.0.2.21/24", "192.0.2.22/24"}));
}

TEST(Addresses, AContainerKeepsTheOneItGot) {
  const TakenAddresses taken{.kept = {{test::container("shop-redis"), address("192.0.2.20")}}};
  EXPECT_EQ(assigned(test::kPair, taken), (std::vector<std::string>{"192.0.2.21/24", "192.0.2.20/24"}));
  const TakenAddresses elsewhere{.kept = {{test::container("shop-redis"), address("198.51.100.7")}}};
  EXPECT_EQ(assigned(test::kPair, elsewhere), (std::vector<std::string>{"192.0.2.20/24", "192.0.2.21/24"})) << "not in the range any more";
}

TEST(Addresses, NeitherTheGatewayNorWhatAContainerSaysItself) {
  EXPECT_EQ(assigned(R"(
network: {bridge: br0, addresses: [192.0.2.1-192.0.2.9/24], ipv4-gateway: 192.0.2.1}
components: [{name: a, command: [a]}, {name: b, command: [b]}]
containers: [{name: own, components: [b], network: {bridge: br0, ipv4: 192.0.2.2/24}}]
)", {}), (std::vector<std::string>{"192.0.2.3/24", "-"}));
}

TEST(Addresses, AContainerWithAnAddressOfItsOwnGetsNone) {
  EXPECT_EQ(assigned(R"(
network: {bridge: br0, addresses: [192.0.2.20-192.0.2.20/24]}
components: [{name: a, command: [a]}, {name: b, command: [b]}, {name: c, command: [c]}]
containers:
  - {name: v4, components: [a], network: {ipv4: 192.0.2.2/24}}
  - {name: v6, components: [b], network: {ipv6: "2001:db8::2/64"}}
)", {}), (std::vector<std::string>{"-", "-", "192.0.2.20/24"}));
}

TEST(Addresses, TooFewAreCounted) {
  const auto said = assigned(R"(
network: {bridge: br0, addresses: [192.0.2.20-192.0.2.20/24]}
components: [{name: a, command: [a]}, {name: b, command: [b]}, {name: c, command: [c]}]
)", {});
  ASSERT_EQ(said.size(), 1U);
  EXPECT_THAT(said[0], HasSubstr("2 of 3 containers get no address"));
}

TEST(Addresses, WithoutANetworkThereAreNone) {
  EXPECT_EQ(assigned("components: [{name: a, command: [a]}]\n", {}), std::vector<std::string>{"-"});
}

}  // namespace
}  // namespace perdure::deploy
