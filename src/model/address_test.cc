// Proves that addresses parse what they print, refuse the rest, and that prefixes contain what they
// should.
#include "model/address.h"

#include <gtest/gtest.h>

namespace perdure::model {
namespace {

TEST(Address, Ipv4ParsesWhatItPrints) {
  for (const char* text : {"0.0.0.0", "192.0.2.1", "255.255.255.255"}) {
    const auto address = Ipv4Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(to_string(*address), text);
  }
}

TEST(Address, Ipv4RefusesOtherForms) {
  using namespace std::string_view_literals;
  for (const auto text : {""sv, "192.0.2"sv, "192.0.2.256"sv, "192.0.02.1"sv, "0xc0.0.2.1"sv,
                          " 192.0.2.1"sv, "192.0.2.1 "sv, "192.0.2.1\0"sv, "localhost"sv}) {
    const auto address = Ipv4Address::parse(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code(), ErrorCode::kInvalid);
  }
}

TEST(Address, Ipv6PrintsTheCanonicalForm) {  // RFC 5952, section 4
  const std::pair<const char*, const char*> cases[] = {
      {"2001:0db8::0001", "2001:db8::1"},
      {"2001:db8:0:0:0:0:2:1", "2001:db8::2:1"},
      {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
      {"2001:DB8::A", "2001:db8::a"},
      {"::", "::"},
      {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
  };
  for (const auto& [text, canonical] : cases) {
    const auto address = Ipv6Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(to_string(*address), canonical);
    EXPECT_EQ(Ipv6Address::parse(canonical), *address);
  }
}

TEST(Address, Ipv6RefusesOtherForms) {
  for (const char* text :
       {"", "fe80::1%eth0", "1::2::3", "2001:db8::/64", "12345::", "192.0.2.1"}) {
    EXPECT_FALSE(Ipv6Address::parse(text)) << text;
  }
}

TEST(Address, MacParsesWhatItPrints) {
  const auto mac = MacAddress::parse("02:0A:ff:00:10:9b");
  ASSERT_TRUE(mac);
  EXPECT_EQ(to_string(*mac), "02:0a:ff:00:10:9b");
  EXPECT_FALSE(mac->is_multicast());
  EXPECT_TRUE(MacAddress::parse("01:00:5e:00:00:01")->is_multicast());
  for (const char* text : {"", "02:00:00:00:00", "02-00-00-00-00-01", "02:00:00:00:00:0g",
                           "02:00:00:00:00:001", "2:0:0:0:0:1", "02:00:00:00:00:01:"}) {
    EXPECT_FALSE(MacAddress::parse(text)) << text;
  }
}

TEST(Address, PrefixKeepsTheHostBits) {
  const auto prefix = Ipv4Prefix::parse("192.0.2.77/26");
  ASSERT_TRUE(prefix);
  EXPECT_EQ(to_string(*prefix), "192.0.2.77/26");
  EXPECT_EQ(to_string(prefix->network()), "192.0.2.64");
  EXPECT_EQ(to_string(prefix->last()), "192.0.2.127");
}

TEST(Address, PrefixContainsItsNetworkOnly) {
  const auto prefix = *Ipv4Prefix::parse("192.0.2.77/26");
  EXPECT_TRUE(prefix.contains(*Ipv4Address::parse("192.0.2.64")));
  EXPECT_TRUE(prefix.contains(*Ipv4Address::parse("192.0.2.127")));
  EXPECT_FALSE(prefix.contains(*Ipv4Address::parse("192.0.2.63")));
  EXPECT_FALSE(prefix.contains(*Ipv4Address::parse("192.0.2.128")));
  EXPECT_TRUE(Ipv4Prefix::parse("10.0.0.1/0")->contains(*Ipv4Address::parse("203.0.113.9")));
  EXPECT_FALSE(Ipv4Prefix::parse("10.0.0.1/32")->contains(*Ipv4Address::parse("10.0.0.0")));

  const auto six = *Ipv6Prefix::parse("2001:db8:0:1::10/61");
  EXPECT_TRUE(six.contains(*Ipv6Address::parse("2001:db8:0:7::1")));
  EXPECT_FALSE(six.contains(*Ipv6Address::parse("2001:db8:0:8::1")));
  EXPECT_EQ(to_string(six.network()), "2001:db8::");
  EXPECT_EQ(to_string(six.last()), "2001:db8:0:7:ffff:ffff:ffff:ffff");
}

TEST(Address, EitherFamilyParsesWhatItPrints) {
  for (const char* text : {"10.0.0.5", "0.0.0.0", "fd00::5", "::", "fe80::1"}) {
    EXPECT_EQ(to_string(IpAddress::parse(text).value()), text);
  }
  for (const char* text : {"", "10.0.0", "10.0.0.256", "fd00:::5", "name", "10.0.0.5/24"}) {
    const auto address = IpAddress::parse(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code(), ErrorCode::kInvalid);
  }
  EXPECT_EQ(IpAddress::parse("10.0.0.5").value(), Ipv4Address::parse("10.0.0.5").value());
  EXPECT_NE(IpAddress::any(IpFamily::kV4), IpAddress::any(IpFamily::kV6));
}

TEST(Address, LinkLocalOnesAreKnown) {
  for (const char* text : {"169.254.0.1", "fe80::1", "febf::"}) {
    EXPECT_TRUE(IpAddress::parse(text)->is_link_local()) << text;
  }
  for (const char* text : {"169.255.0.1", "10.0.0.1", "fd00::1", "fec0::"}) {
    EXPECT_FALSE(IpAddress::parse(text)->is_link_local()) << text;
  }
}

TEST(Address, PrefixOfEitherFamily) {
  const auto prefix = IpPrefix::parse("10.1.2.3/20").value();
  EXPECT_EQ(to_string(prefix), "10.1.2.3/20");
  EXPECT_EQ(to_string(prefix.last()), "10.1.15.255");
  EXPECT_TRUE(prefix.contains(*IpAddress::parse("10.1.15.255")));
  EXPECT_FALSE(prefix.contains(*IpAddress::parse("10.1.16.0")));
  EXPECT_FALSE(prefix.contains(*IpAddress::parse("fd00::1")));
  EXPECT_FALSE(IpPrefix::parse("::/0")->contains(*IpAddress::parse("10.0.0.1")));
  EXPECT_TRUE(IpPrefix::parse("::/0")->contains(*IpAddress::parse("fd00::1")));
  for (const char* text : {"10.0.0.5", "10.0.0.5/33", "fd00::5/129", "/24"}) {
    EXPECT_FALSE(IpPrefix::parse(text)) << text;
  }
}

TEST(Address, PrefixRefusesBadLengths) {
  for (const char* text : {"192.0.2.1", "192.0.2.1/", "192.0.2.1/33", "192.0.2.1/-1",
                           "192.0.2.1/024", "192.0.2.1/24x", "192.0.2.1/4294967320", "/24"}) {
    EXPECT_FALSE(Ipv4Prefix::parse(text)) << text;
  }
  EXPECT_FALSE(Ipv6Prefix::parse("2001:db8::1/129"));
}

}  // namespace
}  // namespace perdure::model
