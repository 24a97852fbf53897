// Proves that addresses parse exactly what they print, refuse the rest with kInvalid, and that
// derived names are stable: they must come out the same on every host and in every version.
#include "network/address.h"

#include "gtest/gtest.h"
#include "network/link.h"

namespace perdure::network {
namespace {

TEST(MacAddressTest, PrintsAndParsesTheSame) {
  const auto mac = MacAddress::parse("02:00:5e:10:AB:01");
  ASSERT_TRUE(mac);
  EXPECT_EQ(mac->str(), "02:00:5e:10:ab:01");
  for (const char* bad : {"", "02:00:5e:10:00", "02:00:5e:10:00:0g", "02-00-5e-10-00-01",
                          "02:00:5e:10:00:001", "02:00:5e:10:00:1:"}) {
    const auto parsed = MacAddress::parse(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalid);
  }
}

TEST(IpAddressTest, PrintsAndParsesBothFamilies) {
  for (const char* good : {"10.0.0.5", "0.0.0.0", "fd00::5", "::", "fe80::1"}) {
    EXPECT_EQ(IpAddress::parse(good).value().str(), good);
  }
  for (const char* bad : {"", "10.0.0", "10.0.0.256", "fd00:::5", "name", "10.0.0.5/24"}) {
    EXPECT_FALSE(IpAddress::parse(bad)) << bad;
  }
  EXPECT_TRUE(IpAddress::parse("fe80::1")->is_link_local());
  EXPECT_FALSE(IpAddress::parse("fd00::1")->is_link_local());
}

TEST(IpPrefixTest, ChecksLengthAndMembership) {
  const auto prefix = IpPrefix::parse("10.1.2.3/20").value();
  EXPECT_EQ(prefix.str(), "10.1.2.3/20");
  EXPECT_TRUE(prefix.contains(IpAddress::parse("10.1.15.255").value()));
  EXPECT_FALSE(prefix.contains(IpAddress::parse("10.1.16.0").value()));
  EXPECT_FALSE(prefix.contains(IpAddress::parse("fd00::1").value()));
  EXPECT_TRUE(IpPrefix::parse("::/0").value().contains(IpAddress::parse("fd00::1").value()));
  for (const char* bad :
       {"10.0.0.5", "10.0.0.5/", "10.0.0.5/33", "fd00::5/129", "10.0.0.5/-1", "10.0.0.5/2 "}) {
    EXPECT_FALSE(IpPrefix::parse(bad)) << bad;
  }
}

TEST(EndpointTest, BracketsIpv6) {
  EXPECT_EQ((Endpoint{IpAddress::parse("10.0.0.5").value(), 80}).str(), "10.0.0.5:80");
  EXPECT_EQ((Endpoint{IpAddress::parse("fd00::5").value(), 80}).str(), "[fd00::5]:80");
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
