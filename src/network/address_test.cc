// Proves that endpoints print as clients write them, and that derived names are stable: they must
// come out the same on every host and in every version.
#include "network/address.h"

#include "gtest/gtest.h"
#include "network/link.h"

namespace perdure::network {
namespace {

TEST(EndpointTest, BracketsIpv6) {
  EXPECT_EQ(to_string(Endpoint{IpAddress::parse("10.0.0.5").value(), 80}), "10.0.0.5:80");
  EXPECT_EQ(to_string(Endpoint{IpAddress::parse("fd00::5").value(), 80}), "[fd00::5]:80");
}

TEST(HostInterfaceNameTest, FitsTheKernelAndIsStable) {
  const std::string name = host_interface_name(std::string(63, 'x'));
  EXPECT_LE(name.size(), kMaxInterfaceName);
  EXPECT_TRUE(name.starts_with("pd-"));
  EXPECT_EQ(host_interface_name("web"), host_interface_name("web"));
  EXPECT_NE(host_interface_name("web"), host_interface_name("web2"));
}

}  // namespace
}  // namespace perdure::network
