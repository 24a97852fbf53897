// Proves which texts are endpoints, and that each is printed as it is read.
#include "io/endpoint.h"

#include <netinet/in.h>

#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace perdure::io {
namespace {

using testing::HasSubstr;

std::string normal(std::string_view text, std::uint16_t default_port = 0) {
  const auto endpoint = Endpoint::parse(text, default_port);
  return endpoint ? to_string(*endpoint) : endpoint.error().message();
}

TEST(EndpointTest, ReadsAddressesOfBothFamilies) {
  EXPECT_EQ(normal("192.0.2.1:7400"), "192.0.2.1:7400");
  EXPECT_EQ(normal("[2001:DB8::1]:7400"), "[2001:db8::1]:7400");
  EXPECT_EQ(normal("0.0.0.0:0"), "0.0.0.0:0");
  EXPECT_EQ(normal("[::]:65535"), "[::]:65535");
}

TEST(EndpointTest, TakesTheDefaultPortIfNoneIsSaid) {
  EXPECT_EQ(normal("192.0.2.1", 7400), "192.0.2.1:7400");
  EXPECT_EQ(normal("[::1]", 7400), "[::1]:7400");
  EXPECT_EQ(normal("::1", 7400), "[::1]:7400");
  EXPECT_EQ(normal("192.0.2.1:80", 7400), "192.0.2.1:80");
  EXPECT_THAT(normal("192.0.2.1"), HasSubstr("the port is missing"));
  EXPECT_THAT(normal("::1"), HasSubstr("the port is missing"));
}

TEST(EndpointTest, RefusesWhatIsNoEndpoint) {
  for (const std::string_view text : {"",
                                      ":",
                                      ":7400",
                                      "[]:7400",
                                      "[::1",
                                      "[::1]7400",
                                      "[::1]x:7400",
                                      "[192.0.2.1]:7400",
                                      "192.0.2:7400",
                                      "192.0.2.256:7400",
                                      "192.0.2.01:7400",
                                      "192.0.2.1:",
                                      "192.0.2.1:-1",
                                      "192.0.2.1:65536",
                                      "192.0.2.1:7400x",
                                      "192.0.2.1: 7400",
                                      " 192.0.2.1:7400",
                                      "192.0.2.1:7400:1",
                                      "node-a:7400",
                                      "node-a",
                                      "fe80::1%eth0",
                                      "[fe80::1%eth0]:7400",
                                      "1:7400",
                                      "::1:::7400"}) {
    const auto endpoint = Endpoint::parse(text, 7400);
    ASSERT_FALSE(endpoint) << text;
    EXPECT_EQ(endpoint.error().code(), ErrorCode::kInvalid);
    EXPECT_THAT(endpoint.error().message(), HasSubstr("address '" + std::string(text) + "'"));
  }
  EXPECT_FALSE(Endpoint::parse(std::string_view("192.0.2.1\0:7400", 15)));
  const auto long_text = Endpoint::parse(std::string(10'000, '1'));
  ASSERT_FALSE(long_text);
  EXPECT_LT(long_text.error().message().size(), 200u);
}

TEST(EndpointTest, KnowsTheAddressOfAnyInterface) {
  EXPECT_TRUE(Endpoint::parse("0.0.0.0:1")->is_any());
  EXPECT_TRUE(Endpoint::parse("[::]:1")->is_any());
  EXPECT_FALSE(Endpoint::parse("127.0.0.1:1")->is_any());
  EXPECT_FALSE(Endpoint::parse("[::1]:1")->is_any());
}

TEST(EndpointTest, ShowsAMappedAddressAsIpv4) {
  const Endpoint mapped = Endpoint::parse("[::ffff:192.0.2.1]:7400").value();
  sockaddr_storage storage{};
  std::memcpy(&storage, mapped.address(), mapped.size());
  EXPECT_EQ(to_string(Endpoint::from(storage)), "192.0.2.1:7400");
  const Endpoint plain = Endpoint::parse("[2001:db8::1]:7400").value();
  std::memcpy(&storage, plain.address(), plain.size());
  EXPECT_EQ(to_string(Endpoint::from(storage)), "[2001:db8::1]:7400");
  EXPECT_EQ(host_of(plain), "2001:db8::1");
}

}  // namespace
}  // namespace perdure::io
