// Proves that a NIC (here a veth whose other end is "the LAN") becomes a bridge's port with its
// addresses and routes, and goes back exactly to what it was: on demand, at the deadline, by
// destruction, after a crash.
#include "network/enslave.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "network/enslave_state.h"
#include "network/network_test_support.h"

namespace perdure::network {
namespace {

using std::chrono_literals::operator""ms;
using testing::IsEmpty;
using testing::IsSupersetOf;

const std::string kStateFile = "/run/perdure/enslave.state";

class EnslaveTest : public SandboxTest {
 protected:
  void SetUp() override {
    SandboxTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    std::filesystem::create_directories("/run/perdure");
    links_.emplace(value_of(LinkControl::open()));
    lan_.emplace(value_of(NetworkNamespace::create("/run/perdure/netns/lan")));
    VethRequest veth;
    veth.host_name = "nic0";
    veth.peer_netns = lan_->fd();
    ASSERT_TRUE(links_->create_veth(veth));
    auto lan = value_of(LinkControl::open(lan_->fd()));
    ASSERT_OK(lan.add_address("eth0", prefix("10.5.0.1/24")));
    ASSERT_OK(lan.add_address("eth0", prefix("10.6.0.1/16")));
    ASSERT_OK(lan.set_up("eth0"));
    ASSERT_OK(links_->add_address("nic0", prefix("10.5.0.2/24")));
    ASSERT_OK(links_->add_address("nic0", prefix("10.5.0.3/24")));
    ASSERT_OK(links_->add_address("nic0", prefix("fd05::2/64")));
    ASSERT_OK(links_->set_up("nic0"));
    ASSERT_OK(links_->set_default_route("nic0", ip("10.5.0.1")));
    ASSERT_OK(links_->set_default_route("nic0", ip("fd05::1")));
    before_ = link_state("nic0");
    ASSERT_EQ(before_.routes.size(), 2u);
    ASSERT_TRUE(reaches_the_lan());
  }

  static EnslaveRequest request(Duration deadline) {
    EnslaveRequest request;
    request.nic = "nic0";
    request.bridge = "br0";
    request.state_file = kStateFile;
    request.deadline = deadline;
    return request;
  }

  LinkState link_state(const std::string& link) {
    LinkState state;
    state.port = link;
    auto socket = value_of(NetlinkSocket::open(-1, NETLINK_ROUTE));
    EXPECT_OK(read_link_state(socket, value_of(links_->get(link)).index, state));
    return state;
  }
  std::vector<IpPrefix> nic_addresses() { return value_of(links_->addresses("nic0")); }

  // Through the default route, to an address that is not on the link's own network.
  bool reaches_the_lan() {
    const UniqueFd lan = socket_at(lan_->fd(), SOCK_DGRAM, Endpoint{ip("10.6.0.1"), 5000});
    const UniqueFd host = socket_at(-1, SOCK_DGRAM, Endpoint{ip("10.5.0.3"), 5000});
    return datagram_arrives(host, Endpoint{ip("10.6.0.1"), 5000}, lan) &&
           datagram_arrives(lan, Endpoint{ip("10.5.0.3"), 5000}, host);
  }

  void expect_as_before() {
    EXPECT_FALSE(value_of(links_->find("br0")));
    const LinkInfo nic = value_of(links_->get("nic0"));
    EXPECT_EQ(nic.bridge_index, 0u);
    EXPECT_TRUE(nic.up);
    EXPECT_THAT(nic_addresses(),
                IsSupersetOf({prefix("10.5.0.2/24"), prefix("10.5.0.3/24"), prefix("fd05::2/64")}));
    const LinkState now = link_state("nic0");
    EXPECT_EQ(now.routes, before_.routes);
    EXPECT_FALSE(std::filesystem::exists(kStateFile));
    EXPECT_TRUE(reaches_the_lan());
  }
  void expect_moved() {
    const LinkInfo bridge = value_of(links_->get("br0"));
    const LinkInfo nic = value_of(links_->get("nic0"));
    EXPECT_EQ(nic.bridge_index, bridge.index);
    EXPECT_EQ(bridge.mac, nic.mac) << "the host keeps its MAC on the segment";
    EXPECT_THAT(value_of(links_->addresses("br0")),
                IsSupersetOf({prefix("10.5.0.2/24"), prefix("10.5.0.3/24"), prefix("fd05::2/64")}));
    EXPECT_THAT(link_state("nic0").addresses, IsEmpty());
    EXPECT_THAT(link_state("nic0").routes, IsEmpty());
    EXPECT_EQ(value_of(links_->route_to(ip("192.0.2.1"))).link_index, bridge.index);
    EXPECT_EQ(value_of(links_->route_to(ip("2001:db8::1"))).link_index, bridge.index);
    EXPECT_TRUE(reaches_the_lan());
  }

  std::optional<LinkControl> links_;
  std::optional<NetworkNamespace> lan_;
  LinkState before_;
};

TEST_F(EnslaveTest, ConfirmedChangeStays) {
  {
    Enslavement change = value_of(enslave_nic(request(kEventDeadline)));
    EXPECT_TRUE(std::filesystem::exists(kStateFile));
    expect_moved();
    ASSERT_OK(change.confirm());
    ASSERT_OK(change.confirm());
    EXPECT_EQ(change.rollback().error().code(), ErrorCode::kInvalid);
  }
  EXPECT_FALSE(std::filesystem::exists(kStateFile));
  ASSERT_OK(recover_enslavement(kStateFile));
  expect_moved();
  EXPECT_EQ(enslave_nic(request(kEventDeadline)).error().code(), ErrorCode::kExists)
      << "a port already";
}

TEST_F(EnslaveTest, RollsBackOnDemand) {
  Enslavement change = value_of(enslave_nic(request(kEventDeadline)));
  ASSERT_OK(change.rollback());
  ASSERT_OK(change.rollback());
  EXPECT_TRUE(change.rolled_back());
  expect_as_before();
  EXPECT_EQ(change.confirm().error().code(), ErrorCode::kTimeout);
}

TEST_F(EnslaveTest, RollsBackAtTheDeadline) {
  Enslavement change = value_of(enslave_nic(request(100ms)));
  ASSERT_OK(change.wait_decided(kEventDeadline));
  EXPECT_TRUE(change.rolled_back());
  expect_as_before();
}

TEST_F(EnslaveTest, RollsBackWhenDropped) {
  {
    Enslavement change = value_of(enslave_nic(request(kEventDeadline)));
  }
  expect_as_before();
}

TEST_F(EnslaveTest, CrashIsRolledBackAtTheNextStart) {
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    const auto change = enslave_nic(request(kEventDeadline));
    if (!change) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(daemon, &status, 0), daemon);
  ASSERT_TRUE(WIFSIGNALED(status));
  expect_moved();
  EXPECT_EQ(enslave_nic(request(kEventDeadline)).error().code(), ErrorCode::kExists)
      << "recover first";
  ASSERT_OK(recover_enslavement(kStateFile));
  expect_as_before();
  ASSERT_OK(recover_enslavement(kStateFile));
}

TEST_F(EnslaveTest, KeepsABridgeThatWasThere) {
  ASSERT_TRUE(links_->ensure_bridge("br0"));
  ASSERT_OK(links_->add_address("br0", prefix("10.7.0.1/24")));
  Enslavement change = value_of(enslave_nic(request(kEventDeadline)));
  EXPECT_TRUE(reaches_the_lan());
  ASSERT_OK(change.rollback());
  EXPECT_THAT(value_of(links_->addresses("br0")), testing::Contains(prefix("10.7.0.1/24")));
  EXPECT_EQ(value_of(links_->addresses("br0")).size() - link_state("br0").addresses.size(), 1u)
      << "besides its own and the automatic link-local address nothing is left";
  ASSERT_OK(links_->remove("br0"));
  expect_as_before();
}

TEST_F(EnslaveTest, FailureOnTheWayChangesNothing) {
  EnslaveRequest impossible = request(kEventDeadline);
  impossible.bridge = "lo";
  EXPECT_EQ(enslave_nic(impossible).error().code(), ErrorCode::kExists);
  expect_as_before();
  impossible = request(kEventDeadline);
  impossible.state_file = "/no/such/directory/state";
  EXPECT_FALSE(enslave_nic(impossible));
  expect_as_before();
  impossible = request(kEventDeadline);
  impossible.nic = "nope";
  EXPECT_EQ(enslave_nic(impossible).error().code(), ErrorCode::kNotFound);
  impossible = request(kEventDeadline);
  impossible.vlan = 0;
  EXPECT_EQ(enslave_nic(impossible).error().code(), ErrorCode::kInvalid);
  expect_as_before();
}

TEST_F(EnslaveTest, DamagedStateFileIsReportedAndChangesNothing) {
  std::ofstream(kStateFile) << "perdure-link-state 1\nport nic0\nbridge br0\n";  // cut short
  EXPECT_EQ(recover_enslavement(kStateFile).error().code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(std::filesystem::exists(kStateFile));
  std::filesystem::remove(kStateFile);
  expect_as_before();
}

TEST(LinkStateTest, ParsesWhatItPrints) {
  LinkState state;
  state.port = "nic0";
  state.bridge = "br0";
  state.made_bridge = true;
  state.was_up = true;
  state.addresses = {RawMessage(24, 0xab)};
  state.routes = {RawMessage(40, 0x01), RawMessage(44, 0xff)};
  const LinkState again = value_of(parse_link_state(to_text(state)));
  EXPECT_EQ(to_text(again), to_text(state));
  for (const char* bad :
       {"", "perdure-link-state 2\nport a\nbridge b\nend\n", "perdure-link-state 1\nend\n",
        "perdure-link-state 1\nport a\nbridge b\nroute 0\nend\n",
        "perdure-link-state 1\nport a\nbridge b\naddress zz\nend\n"}) {
    EXPECT_EQ(parse_link_state(bad).error().code(), ErrorCode::kCorrupt) << bad;
  }
}

}  // namespace
}  // namespace perdure::network
