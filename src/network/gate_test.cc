// Proves what the gate lets through and what not, that it acts without the daemon and is found
// again by a later one. Absence of a frame is proved by the gate's counters; silence is watched for
// a bounded time.
#include "network/gate.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <array>
#include <atomic>
#include <format>
#include <functional>
#include <thread>

#include "gmock/gmock.h"
#include "network/network_test_support.h"

namespace perdure::network {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

constexpr std::uint16_t kPort = 5000;

// The exit status of `work` in a process of its own whose boot clock is so far ahead; 99: there is no such process.
int in_time_namespace(std::chrono::seconds ahead, const std::function<int()>& work) {
  const auto wait_for = [](pid_t child) {
    int status = 0;
    return ::waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 99;
  };
  const pid_t outer = ::fork();
  if (outer != 0) return wait_for(outer);
  if (::unshare(CLONE_NEWTIME) != 0) ::_exit(99);
  const std::string offsets = std::format("boottime {} 0\n", ahead.count());
  const UniqueFd file(::open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC));
  const auto size = static_cast<ssize_t>(offsets.size());
  if (::write(file.get(), offsets.data(), offsets.size()) != size) ::_exit(99);
  const pid_t inner = ::fork();  // the first process in the namespace
  ::_exit(inner == 0 ? work() : wait_for(inner));
}

class GateTest : public BridgeTest {
 protected:
  void SetUp() override {
    BridgeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    container_.emplace(make_container(2));
    inside_ = socket_at(container_->netns.fd(), SOCK_DGRAM, container_->at(kPort));
    host_ = socket_at(-1, SOCK_DGRAM, host_end());
    ASSERT_TRUE(passes());
  }

  static Endpoint host_end() { return Endpoint{ip("10.1.0.1"), kPort}; }
  Gate& gate() { return container_->attachment.gate; }

  void send_out() {
    const SocketAddress to(host_end());
    ASSERT_EQ(::sendto(inside_.get(), "x", 1, 0, to.get(), to.size), 1) << std::strerror(errno);
  }
  void drain() {
    char buffer[16];
    while (::recv(host_.get(), buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
    }
  }
  // The next frame out of the container arrives.
  bool passes() {
    const bool arrived = datagram_arrives(inside_, host_end(), host_);
    drain();
    return arrived;
  }
  // A frame out of the container is counted as dropped for this reason and does not arrive.
  testing::AssertionResult drops(std::uint64_t GateCounters::* reason) {
    drain();
    const std::uint64_t before = gate().counters().*reason;
    const bool counted = eventually([&] {
      send_out();
      return gate().counters().*reason > before;
    });
    if (!counted) return testing::AssertionFailure() << "no frame was counted as dropped";
    if (readable_within(host_.get(), kSilenceMs))
      return testing::AssertionFailure() << "a frame came through";
    return testing::AssertionSuccess();
  }

  std::optional<Container> container_;
  UniqueFd inside_;
  UniqueFd host_;
};

TEST_F(GateTest, PassesUntilTheDeadlineAndClosesByItself) {
  const Instant deadline = BootClock::now() + 2s;
  gate().set_deadline(deadline);
  EXPECT_EQ(gate().state().deadline, deadline);
  ASSERT_TRUE(passes());
  Instant last_arrival = BootClock::now();
  ASSERT_TRUE(eventually([&] {
    send_out();
    if (readable_within(host_.get(), 5)) last_arrival = BootClock::now();
    drain();
    return gate().counters().dropped_deadline > 0;
  }));
  EXPECT_GE(BootClock::now(), deadline);
  EXPECT_LT(last_arrival, deadline + 1s);
  EXPECT_TRUE(drops(&GateCounters::dropped_deadline));
  gate().set_deadline(kNoDeadline);
  EXPECT_TRUE(passes());
}

TEST_F(GateTest, DeadlineOfAnotherTimeNamespaceIsTheSameInstant) {
  constexpr std::chrono::seconds kAhead{3600};
  const Instant before = BootClock::now();
  // A daemon whose boot clock is an hour ahead finds the gate and renews it for two of its seconds.
  const int renewed = in_time_namespace(kAhead, [&] {
    if (BootClock::now() < before + kAhead) return 1;
    auto found = Gate::recover(gate().link_index());
    if (!found) return 2;
    const Instant deadline = BootClock::now() + 2s;
    found->set_deadline(deadline);
    return found->state().deadline == deadline ? 0 : 3;
  });
  if (renewed == 99) GTEST_SKIP() << "no time namespace can be made here";
  ASSERT_EQ(renewed, 0);
  EXPECT_GE(gate().state().deadline, before + 2s);
  EXPECT_LT(gate().state().deadline, BootClock::now() + 2s);
  EXPECT_TRUE(eventually([&] {
    send_out();
    return gate().counters().dropped_deadline > 0;
  })) << "it closes as the kernel's clock says";
}

TEST_F(GateTest, LateRenewalIsHarmless) {
  const Instant granted_until = BootClock::now() + 50ms;
  gate().set_deadline(BootClock::now());
  EXPECT_TRUE(drops(&GateCounters::dropped_deadline));  // takes longer than the grant lasts
  ASSERT_GT(BootClock::now(), granted_until);
  gate().set_deadline(granted_until);
  EXPECT_TRUE(drops(&GateCounters::dropped_deadline));
  gate().set_deadline(Instant(Duration(-5)));
  EXPECT_TRUE(drops(&GateCounters::dropped_deadline));
}

TEST_F(GateTest, LockDropsEverythingAndUnlockKeepsTheRest) {
  gate().set_flags(GateFlags::kRstGuard | GateFlags::kHoldOnDeath);
  gate().lock();
  EXPECT_TRUE(drops(&GateCounters::dropped_locked));
  gate().unlock();
  EXPECT_TRUE(passes());
  EXPECT_EQ(gate().state().flags, GateFlags::kRstGuard | GateFlags::kHoldOnDeath);
  gate().lock();
  gate().open();
  EXPECT_EQ(gate().state().flags, GateFlags::kHoldOnDeath) << "open() does not disarm the hook";
  EXPECT_TRUE(passes());
}

TEST_F(GateTest, OpeningAGateWhoseDeadlineHasPassedLetsNothingOut) {
  gate().lock();
  gate().set_deadline(BootClock::now());
  gate().open();
  EXPECT_TRUE(drops(&GateCounters::dropped_deadline));
  gate().set_deadline(kNoDeadline);
  EXPECT_TRUE(passes());
}

TEST_F(GateTest, ADeadlineIsWrittenWithoutTheGateItself) {
  auto writer = gate().deadline_writer().value();
  writer.set(Instant::min());
  EXPECT_TRUE(drops(&GateCounters::dropped_deadline));
  const Instant later = BootClock::now() + 3600s;
  writer.set(later);
  EXPECT_EQ(writer.get(), gate().state().deadline);
  EXPECT_TRUE(passes());
}

TEST_F(GateTest, ArpOnlyPassesAddressResolution) {
  gate().set_flags(GateFlags::kArpOnly);
  EXPECT_TRUE(drops(&GateCounters::dropped_arp_only));
  // A host that has never heard of the container's IPv6 address learns it through the gate.
  const UniqueFd inside6 = socket_at(container_->netns.fd(), SOCK_DGRAM, container_->at6(kPort));
  const UniqueFd host6 = socket_at(-1, SOCK_DGRAM, Endpoint{ip("fd01::1"), kPort});
  EXPECT_TRUE(datagram_arrives(host6, container_->at6(kPort), inside6));
}

TEST_F(GateTest, RstGuardDropsRefusalsOnly) {
  gate().set_flags(GateFlags::kRstGuard);
  EXPECT_TRUE(passes());
  for (const Endpoint& closed : {container_->at(81), container_->at6(81)}) {
    const std::uint64_t before = gate().counters().dropped_guard;
    const UniqueFd client = socket_at(-1, SOCK_STREAM | SOCK_NONBLOCK,
                                      Endpoint{IpAddress::any(closed.address.family), 0});
    const SocketAddress to(closed);
    ASSERT_EQ(::connect(client.get(), to.get(), to.size), -1);
    EXPECT_TRUE(eventually([&] { return gate().counters().dropped_guard > before; })) << "RST";
    pollfd ready{client.get(), POLLOUT, 0};
    EXPECT_EQ(::poll(&ready, 1, kSilenceMs), 0) << "the client heard of it";
    const std::uint64_t reset = gate().counters().dropped_guard;
    const UniqueFd datagrams =
        socket_at(-1, SOCK_DGRAM, Endpoint{IpAddress::any(closed.address.family), 0});
    EXPECT_TRUE(eventually([&] {
      (void)::sendto(datagrams.get(), "x", 1, 0, to.get(), to.size);
      return gate().counters().dropped_guard > reset + 2;  // the SYN is repeated meanwhile
    })) << "port unreachable";
  }
  gate().clear_flags(GateFlags::kRstGuard);
  const UniqueFd client = socket_at(-1, SOCK_STREAM, Endpoint{ip("0.0.0.0"), 0});
  const SocketAddress to(container_->at(81));
  EXPECT_EQ(::connect(client.get(), to.get(), to.size), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
}

TEST_F(GateTest, EstablishedConnectionsPassTheRstGuard) {
  gate().set_flags(GateFlags::kRstGuard);
  const TcpPair pair = connect_tcp(-1, host_end(), container_->netns.fd(), container_->at(80));
  ASSERT_EQ(::write(pair.server.get(), "hello", 5), 5);
  EXPECT_TRUE(readable_within(pair.client.get(), 20'000));
}

TEST_F(GateTest, InputLockKeepsFramesFromTheContainer) {
  ASSERT_TRUE(datagram_arrives(host_, container_->at(kPort), inside_));
  gate().set_flags(GateFlags::kInputLocked);
  const std::uint64_t before = gate().counters().input_dropped;
  const SocketAddress to(container_->at(kPort));
  char buffer[16];
  while (::recv(inside_.get(), buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
  }
  ASSERT_TRUE(eventually([&] {
    (void)::sendto(host_.get(), "x", 1, 0, to.get(), to.size);
    return gate().counters().input_dropped > before;
  }));
  EXPECT_FALSE(readable_within(inside_.get(), kSilenceMs));
  gate().set_flags(GateFlags::kNone);
  EXPECT_TRUE(datagram_arrives(host_, container_->at(kPort), inside_));
}

TEST_F(GateTest, RemembersTheConnectionsWhoseResetItKeptBack) {
  std::vector<TcpTuple> expected;
  const auto end_with_unread_data = [&](const Endpoint& server, const Endpoint& client, GateFlags closed) {
    TcpPair pair = connect_tcp(-1, client, container_->netns.fd(), server);
    ASSERT_EQ(::write(pair.client.get(), "unread", 6), 6);
    ASSERT_TRUE(readable_within(pair.server.get(), 20'000));
    gate().add_flags(closed);
    const auto dropped = [&] { return gate().counters().dropped_locked + gate().counters().dropped_arp_only; };
    const std::uint64_t before = dropped();
    pair.server.reset();
    EXPECT_TRUE(eventually([&] { return dropped() > before; }));
    gate().clear_flags(closed);
    expected.push_back({server, client});
  };
  EXPECT_THAT(value_of(gate().take_refused()), testing::IsEmpty());
  end_with_unread_data(container_->at(80), Endpoint{ip("10.1.0.1"), 4000}, GateFlags::kLocked);
  end_with_unread_data(container_->at(80), Endpoint{ip("10.1.0.1"), 4001}, GateFlags::kArpOnly);
  end_with_unread_data(container_->at6(80), Endpoint{ip("fd01::1"), 4000}, GateFlags::kLocked);
  Gate later = value_of(Gate::recover(gate().link_index()));
  EXPECT_THAT(value_of(later.take_refused()), testing::UnorderedElementsAreArray(expected));
  EXPECT_THAT(value_of(gate().take_refused()), testing::IsEmpty()) << "each is told once";
}

TEST_F(GateTest, ForgetsTheOldestOfTooManyRefusals) {
  gate().lock();
  const SocketAddress to(container_->at(81));  // closed
  const auto refuse = [&](std::uint16_t port) {
    const UniqueFd client = socket_at(-1, SOCK_STREAM | SOCK_NONBLOCK, Endpoint{ip("10.1.0.1"), port});
    const std::uint64_t before = gate().counters().dropped_locked;
    ASSERT_EQ(::connect(client.get(), to.get(), to.size), -1);
    ASSERT_TRUE(eventually([&] { return gate().counters().dropped_locked > before; }));
  };
  for (std::uint16_t i = 0; i < PD_GATE_REFUSALS + 10; ++i) refuse(static_cast<std::uint16_t>(10'000 + i));
  const auto refused = value_of(gate().take_refused());
  ASSERT_FALSE(refused.empty());
  EXPECT_LE(refused.size(), std::size_t{PD_GATE_REFUSALS});
  EXPECT_EQ(refused.back().remote.port, 10'000 + PD_GATE_REFUSALS + 9) << "the newest is kept";
}

TEST_F(GateTest, TellsTheConnectionsThatHaveBegun) {
  EXPECT_THAT(value_of(gate().take_begun()), testing::IsEmpty());
  const int inside = container_->netns.fd();
  const Endpoint outside4{ip("10.1.0.1"), 4000}, outside6{ip("fd01::1"), 4000};
  std::vector<TcpPair> pairs;
  pairs.push_back(connect_tcp(-1, outside4, inside, container_->at(80)));
  pairs.push_back(connect_tcp(-1, outside6, inside, container_->at6(80)));
  pairs.push_back(connect_tcp(inside, container_->at(4001), -1, Endpoint{ip("10.1.0.1"), 81}));
  pairs.push_back(connect_tcp(inside, container_->at6(4001), -1, Endpoint{ip("fd01::1"), 81}));
  ASSERT_EQ(::write(pairs.front().server.get(), "x", 1), 1);
  ASSERT_TRUE(readable_within(pairs.front().client.get(), 20'000));
  const std::vector<TcpTuple> expected{{container_->at(80), outside4},
                                       {container_->at6(80), outside6},
                                       {container_->at(4001), Endpoint{ip("10.1.0.1"), 81}},
                                       {container_->at6(4001), Endpoint{ip("fd01::1"), 81}}};
  Gate later = value_of(Gate::recover(gate().link_index()));
  EXPECT_THAT(value_of(later.take_begun()), testing::UnorderedElementsAreArray(expected));
  EXPECT_THAT(value_of(gate().take_begun()), testing::IsEmpty()) << "each is told once";
  pairs.push_back(connect_tcp(-1, Endpoint{ip("10.1.0.1"), 4002}, inside, container_->at(82)));
  EXPECT_THAT(value_of(later.take_begun()),
              testing::ElementsAre(TcpTuple{container_->at(82), Endpoint{ip("10.1.0.1"), 4002}}));
}

TEST_F(GateTest, TellsNothingOfAConnectionThatItKeepsBack) {
  gate().lock();
  const UniqueFd listener = socket_at(container_->netns.fd(), SOCK_STREAM, container_->at(80));
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  const UniqueFd client = socket_at(-1, SOCK_STREAM | SOCK_NONBLOCK, Endpoint{ip("10.1.0.1"), 4000});
  const SocketAddress to(container_->at(80));
  ASSERT_EQ(::connect(client.get(), to.get(), to.size), -1);
  ASSERT_TRUE(eventually([&] { return gate().counters().dropped_locked > 0; }));
  EXPECT_THAT(value_of(gate().take_begun()), testing::IsEmpty());
}

TEST_F(GateTest, ClosedFromTheFirstFrameOn) {
  auto three = make_container(3, GateState{Instant{}, GateFlags::kNone});
  const UniqueFd inside = socket_at(three.netns.fd(), SOCK_DGRAM, three.at(kPort));
  const SocketAddress to(host_end());
  ASSERT_TRUE(eventually([&] {
    (void)::sendto(inside.get(), "x", 1, 0, to.get(), to.size);
    return three.attachment.gate.counters().dropped_deadline > 0;
  }));
  EXPECT_EQ(three.attachment.gate.counters().passed, 0u) << "no neighbour discovery either";
}

TEST_F(GateTest, SurvivesItsMakerAndIsRecovered) {
  // A child makes the gate of another container and dies; the deadline it set goes on.
  const Instant deadline = BootClock::now() + 3600s;
  const pid_t child = ::fork();
  if (child == 0) {
    auto three = make_container(3, GateState{deadline, GateFlags::kRstGuard});
    three.netns.release();
    three.attachment.gate.lock();
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  auto netns = value_of(NetworkNamespace::open("/run/perdure/netns/c3"));
  netns.adopt();
  Attachment found = value_of(recover_attachment(name("c3")));
  EXPECT_EQ(found.gate.state().deadline, deadline);
  EXPECT_EQ(found.gate.state().flags, GateFlags::kRstGuard | GateFlags::kLocked);
  const UniqueFd inside = socket_at(netns.fd(), SOCK_DGRAM, Endpoint{ip("10.1.0.3"), kPort});
  const SocketAddress to(host_end());
  ASSERT_TRUE(eventually([&] {
    (void)::sendto(inside.get(), "x", 1, 0, to.get(), to.size);
    return found.gate.counters().dropped_locked > 0;
  }));
  found.gate.unlock();
  EXPECT_TRUE(datagram_arrives(inside, host_end(), host_));
}

TEST_F(GateTest, RecoverTellsWhatIsMissing) {
  EXPECT_EQ(Gate::recover(1).error().code(), ErrorCode::kNotFound) << "the loopback has none";
  EXPECT_EQ(Gate::recover(4'000'000).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(Gate::attach(4'000'000, {}).error().code(), ErrorCode::kNotFound);
  ASSERT_OK(Gate::remove(gate().link_index()));
  ASSERT_OK(Gate::remove(gate().link_index()));
  EXPECT_EQ(Gate::recover(gate().link_index()).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(passes());
}

// As one that was made before a gate told of connections: it has no map for them, and passes everything.
void put_gate_of_earlier_version(unsigned link_index) {
  bpf_map_create_opts mappable{};
  mappable.sz = sizeof mappable;
  mappable.map_flags = BPF_F_MMAPABLE;
  const UniqueFd entry(bpf_map_create(BPF_MAP_TYPE_ARRAY, "pd_gate", 4, sizeof(pd_gate_entry), 1, &mappable));
  const UniqueFd refusals(
      bpf_map_create(BPF_MAP_TYPE_QUEUE, "pd_refusals", 0, sizeof(pd_connection), PD_GATE_REFUSALS, nullptr));
  ASSERT_TRUE(entry && refusals) << std::strerror(errno);
  pd_gate_entry initial{};
  initial.deadline_ns = PD_GATE_NO_DEADLINE;
  initial.version = PD_GATE_VERSION;
  const std::uint32_t zero = 0;
  ASSERT_EQ(bpf_map_update_elem(entry.get(), &zero, &initial, BPF_ANY), 0);
  const auto uses = [](const UniqueFd& map) { return bpf_insn{BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map.get()}; };
  const std::array<bpf_insn, 6> code{uses(entry),           bpf_insn{},
                                     uses(refusals),        bpf_insn{},
                                     bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, TC_ACT_UNSPEC},
                                     bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  const UniqueFd program(
      bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "pd_gate_out", "Apache-2.0", code.data(), code.size(), nullptr));
  ASSERT_TRUE(program) << std::strerror(errno);
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = static_cast<int>(link_index);
  hook.attach_point = BPF_TC_INGRESS;
  bpf_tc_opts options{};
  options.sz = sizeof options;
  options.prog_fd = program.get();
  options.flags = BPF_TC_F_REPLACE;
  options.handle = 1;
  options.priority = 1;
  ASSERT_EQ(bpf_tc_attach(&hook, &options), 0) << std::strerror(errno);
}

TEST_F(GateTest, OneThatIsOlderThanItsDaemonIsRecoveredAndTellsOfNoConnections) {
  ASSERT_NO_FATAL_FAILURE(put_gate_of_earlier_version(gate().link_index()));
  Gate found = value_of(Gate::recover(gate().link_index()));
  const TcpPair pair = connect_tcp(-1, host_end(), container_->netns.fd(), container_->at(80));
  EXPECT_THAT(value_of(found.take_begun()), testing::IsEmpty());
  EXPECT_THAT(value_of(found.take_refused()), testing::IsEmpty());
}

// One thread renews as the daemon would, another reads: no store is torn.
TEST_F(GateTest, RenewalIsOneStore) {
  constexpr std::int64_t kLow = 0x0000'0001'0000'0001;
  constexpr std::int64_t kHigh = 0x7000'0000'7000'0000;
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (bool high = false; !stop; high = !high)
      gate().set_deadline(Instant(Duration(high ? kHigh : kLow)));
  });
  gate().set_deadline(Instant(Duration(kLow)));
  for (int i = 0; i < 100'000; ++i) {
    const auto seen = gate().state().deadline.time_since_epoch().count();
    ASSERT_TRUE(seen == kLow || seen == kHigh) << seen;
  }
  stop = true;
  writer.join();
}

class GateProbeTest : public SandboxTest {};

TEST_F(GateProbeTest, ReportsWhatThisKernelCanDo) {
  const GateSupport support = value_of(probe_gate());
  for (const Feature* feature :
       {&support.gate, &support.exit_hook, &support.pinning, &support.destroy}) {
    EXPECT_EQ(feature->works, feature->reason.empty()) << feature->reason;
  }
  EXPECT_TRUE(support.gate.works) << support.gate.reason;
}

}  // namespace
}  // namespace perdure::network
