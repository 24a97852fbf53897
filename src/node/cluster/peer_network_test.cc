// Proves what the other parts of perdured rely on between nodes: sessions that come up whoever begins, end when a peer is silent,
// restarted or no member any more, and come back; requests that are answered once, in time or not at all; bodies on the bulk
// connection only; and that nobody without a good certificate is heard, but to join.
//
// How: two or three PeerNetworks on loopback, each with a loop of its own, so that one can be left standing.
#include "node/cluster/peer_network.h"

#include <format>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "io/test_support.h"
#include "pki/authority.h"

namespace perdure::node {
namespace {

namespace p1 = peer::v1;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kClusterHex = "00112233445566778899aabbccddeeff";
const std::string kClusterId = "0123456789abcdef";

NodeName node(const std::string& name) { return NodeName::parse(name).value(); }

// The system's clock, moved forward.
class ShiftedClock final : public Clock {
 public:
  Instant now() const override { return BootClock::now() + shift; }
  WallTime wall() const override {
    return SystemClock().wall() + std::chrono::duration_cast<WallTime::duration>(shift);
  }
  Duration shift{};
};

io::OutgoingBody body_of(std::shared_ptr<const std::string> text) {
  io::OutgoingBody body;
  body.pieces = {std::as_bytes(std::span(*text))};
  body.owners = {text};
  return body;
}

std::string text_of(const capsule::SlabRef& slab) {
  return {reinterpret_cast<const char*>(slab->bytes().data()), slab->bytes().size()};
}

p1::Message enlist(const std::string& container) {
  p1::Message message;
  message.mutable_enlist()->set_container(container);
  return message;
}
p1::Message commit(const std::string& container) {
  p1::Message message;
  message.mutable_commit()->set_container(container);
  return message;
}

// One node: what it was told and asked.
struct Peer {
  PeerRequest take() {
    PeerRequest first = std::move(asked.front());
    asked.erase(asked.begin());
    return first;
  }

  std::unique_ptr<io::Loop> loop = io::make_loop();
  ShiftedClock clock;
  model::NodeLife life{node("nobody"), Incarnation{}};
  bool stands = false;  // its loop is not run
  std::function<Status(const io::TlsPeer&)> check;
  std::vector<std::string> told;
  std::vector<std::string> refused;
  std::vector<PeerRequest> asked;
  std::vector<p1::JoinRequest> joins;
  std::vector<ResponderRef> join_answers;
  std::unique_ptr<PeerNetwork> network;
};

struct Answered {
  bool done = false;
  std::vector<PeerMessage> messages;
  std::optional<PeerRefusal> refusal;
  Peers::Answer take() {
    return [this](std::expected<PeerMessage, PeerRefusal> answer) {
      if (!answer) {
        refusal = answer.error();
      } else {
        done = !answer->message.more();
        messages.push_back(*std::move(answer));
        return;
      }
      done = true;
    };
  }
};

class PeerNetworkTest : public ::testing::Test {
 protected:
  io::TlsIdentity identity(const std::string& name, const pki::Authority& authority) const {
    const std::string key = pki::make_private_key().value();
    auto certificate = authority.sign(
        {.node = node(name), .public_key_pem = pki::public_key_of(key).value(), .addresses = {"127.0.0.1"}}, clock_);
    return {certificate.value(), key, authority.certificate()};
  }
  io::TlsIdentity identity(const std::string& name) const { return identity(name, authority_); }

  static PeerNetworkOptions options(Peer& peer, const std::string& name, std::uint64_t incarnation) {
    peer.life = {node(name), Incarnation{incarnation}};
    return {.loop = *peer.loop,
            .clock = peer.clock,
            .self = peer.life,
            .cluster_id = kClusterId,
            .version = "test",
            .listen = {"127.0.0.1:0"},
            .ping_interval = 20ms,
            .silence = 20s,
            .redial_first = 10ms,
            .redial_limit = 100ms};
  }
  static void start(Peer& peer, PeerNetworkOptions options, io::TlsIdentity identity) {
    PeerNetworkHandlers handlers;
    handlers.on_up = [&peer](const model::NodeLife& life) {
      peer.told.push_back(std::format("up {}.{}", life.node.str(), life.incarnation.value));
    };
    handlers.on_down = [&peer](const model::NodeLife& life, const Error&) {
      peer.told.push_back(std::format("down {}.{}", life.node.str(), life.incarnation.value));
    };
    handlers.check = [&peer](const io::TlsPeer& who) { return peer.check ? peer.check(who) : Status{}; };
    handlers.on_refused = [&peer](const std::string& who, const Error& error) {
      peer.refused.push_back(who.substr(0, who.find(' ')) + ": " + error.message());
    };
    handlers.on_join = [&peer](p1::JoinRequest request, ResponderRef respond) {
      peer.joins.push_back(std::move(request));
      peer.join_answers.push_back(std::move(respond));
    };
    PeerRequestTable table;
    for (const auto kind : {p1::Message::kEnlist, p1::Message::kShip, p1::Message::kCommit}) {
      table[kind] = [&peer](PeerRequest request) { peer.asked.push_back(std::move(request)); };
    }
    auto network = PeerNetwork::start(std::move(options), std::move(identity), std::move(table), std::move(handlers));
    ASSERT_TRUE(network) << network.error().message();
    peer.network = *std::move(network);
  }
  void start(Peer& peer, const std::string& name, std::uint64_t incarnation = 1) {
    start(peer, options(peer, name, incarnation), identity(name));
  }

  static model::NodeDescription described(const Peer& peer) {
    return {.life = peer.life, .addresses = {peer.network->addresses().front()}};
  }
  static void introduce(const std::vector<Peer*>& peers) {
    std::vector<model::NodeDescription> all;
    for (const Peer* peer : peers) all.push_back(described(*peer));
    for (Peer* peer : peers) peer->network->set_peers(all);
  }
  static bool connected(const Peer& one, const Peer& other) {
    const PeerState* there = one.network->find(other.life.node);
    const PeerState* back = other.network->find(one.life.node);
    return there != nullptr && there->life == other.life && back != nullptr && back->life == one.life;
  }

  // Turns all loops but those that stand.
  bool until(const std::function<bool()>& condition) {
    const Instant deadline = BootClock::now() + io::kTestTime;
    while (!condition()) {
      if (BootClock::now() > deadline) return false;
      for (Peer* peer : {&a_, &b_, &c_}) {
        if (!peer->stands) peer->loop->run_until(condition, 1ms);
      }
    }
    return true;
  }
  void bring_up() {
    start(a_, "a");
    start(b_, "b");
    introduce({&a_, &b_});
    ASSERT_TRUE(until([&] { return connected(a_, b_); }));
  }
  // After this all that was on its way before has arrived: the answer comes behind it on the same connection.
  void pass_one(Peer& from, Peer& to) {
    Answered answer;
    p1::Message unknown;
    unknown.mutable_leave();
    from.network->request(to.life.node, Channel::kControl, unknown, {}, io::kTestTime, answer.take());
    ASSERT_TRUE(until([&] { return answer.done; }));
  }

  const SystemClock clock_;
  const pki::Authority authority_ = pki::Authority::create(kClusterHex, clock_).value();
  Peer a_, b_, c_;
};

// ---- Sessions ----

TEST_F(PeerNetworkTest, SessionsComeUpBetweenAllNodes) {
  start(a_, "a");
  start(b_, "b", 7);
  start(c_, "c");
  introduce({&a_, &b_, &c_});
  ASSERT_TRUE(until([&] { return connected(a_, b_) && connected(b_, c_) && connected(a_, c_); }));
  EXPECT_THAT(a_.told, ::testing::UnorderedElementsAre("up b.7", "up c.1"));
  EXPECT_EQ(b_.network->connected().size(), 2U);
  EXPECT_EQ(b_.network->connected().front().life, a_.life);
  EXPECT_EQ(a_.network->trouble(node("b")), "");
  ASSERT_TRUE(until([&] { return a_.network->find(node("b"))->round_trip.has_value(); }));
}

TEST_F(PeerNetworkTest, WhoDialsKeepsTryingUntilTheOtherBegins) {
  start(b_, "b");
  const model::NodeDescription described_b = described(b_);
  b_.network.reset();
  start(a_, "a");
  a_.network->set_peers({described_b});
  ASSERT_TRUE(until([&] { return !a_.network->trouble(node("b")).empty(); }));
  PeerNetworkOptions again = options(b_, "b", 2);
  again.listen = described_b.addresses;
  start(b_, again, identity("b"));
  b_.network->set_peers({described(a_)});
  ASSERT_TRUE(until([&] { return connected(a_, b_); }));
}

TEST_F(PeerNetworkTest, WhoIsDialledWaitsForTheOther) {
  start(b_, "b");
  b_.network->set_peers({{.life = {node("a"), Incarnation{1}}, .addresses = {"127.0.0.1:1"}}});
  start(a_, "a");
  a_.network->set_peers({described(b_)});
  ASSERT_TRUE(until([&] { return connected(a_, b_); }));
}

TEST_F(PeerNetworkTest, ANodeOfTheVersionBeforeIsSpokenTo) {
  PeerNetworkOptions newer = options(a_, "a", 1);
  newer.protocols = {.oldest = 2, .newest = 3};
  start(a_, newer, identity("a"));
  PeerNetworkOptions older = options(b_, "b", 1);
  older.protocols = {.oldest = 1, .newest = 2};
  start(b_, older, identity("b"));
  introduce({&a_, &b_});
  ASSERT_TRUE(until([&] { return connected(a_, b_); }));
  EXPECT_EQ(a_.network->find(node("b"))->protocol, 2U);
  EXPECT_EQ(b_.network->find(node("a"))->protocol, 2U);
}

TEST_F(PeerNetworkTest, VersionsThatAreTooFarApartRefuseEachOtherAndBothSayWhy) {
  PeerNetworkOptions newer = options(a_, "a", 1);
  newer.protocols = {.oldest = 4, .newest = 5};
  start(a_, newer, identity("a"));
  start(b_, "b");
  introduce({&a_, &b_});
  ASSERT_TRUE(until([&] { return !a_.refused.empty() && !b_.refused.empty(); }));
  EXPECT_THAT(a_.refused.front(), ::testing::HasSubstr("b: it speaks versions 1 to 2 (perdure test) of the protocol between nodes, this "
                                                     "node 4 to 5 (perdure test): update perdure on that node"));
  EXPECT_THAT(b_.refused.front(), ::testing::HasSubstr("a: it speaks versions 4 to 5 (perdure test) of the protocol between nodes, this "
                                                     "node 1 to 2 (perdure test): update perdure on this node"));
  EXPECT_THAT(a_.network->trouble(node("b")), ::testing::HasSubstr("it speaks versions 1 to 2"));
  EXPECT_FALSE(connected(a_, b_));
}

TEST_F(PeerNetworkTest, ARestartedPeerTakesThePlaceOfItsFormerLife) {
  bring_up();
  const model::NodeDescription before = described(b_);
  b_.network.reset();
  PeerNetworkOptions again = options(b_, "b", 2);
  again.listen = before.addresses;
  start(b_, again, identity("b"));
  b_.network->set_peers({described(a_)});
  ASSERT_TRUE(until([&] { return connected(a_, b_); }));
  EXPECT_THAT(a_.told, ElementsAre("up b.1", "down b.1", "up b.2"));
}

// The dialling side comes back before its former life is missed: that one's connections are open still.
TEST_F(PeerNetworkTest, ANewLifeReplacesConnectionsThatAreStillOpen) {
  bring_up();
  a_.stands = true;
  Peer second;
  start(second, options(second, "a", 2), identity("a"));
  second.network->set_peers({described(b_)});
  const Instant deadline = BootClock::now() + io::kTestTime;
  while (!connected(second, b_) && BootClock::now() < deadline) {
    second.loop->run_until([] { return false; }, 1ms);
    b_.loop->run_until([] { return false; }, 1ms);
  }
  EXPECT_TRUE(connected(second, b_));
  EXPECT_THAT(b_.told, ElementsAre("up a.1", "down a.1", "up a.2"));
}

TEST_F(PeerNetworkTest, ASilentPeerIsDownAndComesBack) {
  PeerNetworkOptions first = options(a_, "a", 1);
  first.silence = 300ms;
  start(a_, first, identity("a"));
  start(b_, "b");
  introduce({&a_, &b_});
  ASSERT_TRUE(until([&] { return connected(a_, b_); }));
  Answered answer;
  b_.stands = true;
  a_.network->request(node("b"), Channel::kControl, enlist("web"), {}, io::kLongTime, answer.take());
  ASSERT_TRUE(until([&] { return a_.network->find(node("b")) == nullptr; }));
  ASSERT_TRUE(until([&] { return answer.done; }));
  EXPECT_EQ(answer.refusal->error.code(), ErrorCode::kTransient);
  EXPECT_EQ(a_.told.back(), "down b.1");
  b_.stands = false;
  ASSERT_TRUE(until([&] { return connected(a_, b_); }));
}

TEST_F(PeerNetworkTest, ASessionEndsWhenItsNodeIsNoPeerAnyMore) {
  bring_up();
  b_.network->set_peers({});
  ASSERT_TRUE(until([&] { return a_.network->find(node("b")) == nullptr; }));
  EXPECT_THAT(b_.told, ElementsAre("up a.1", "down a.1"));
  EXPECT_EQ(b_.network->find(node("a")), nullptr);
  // It goes on dialling, and is told why not.
  ASSERT_TRUE(until([&] { return !b_.refused.empty(); }));
  EXPECT_THAT(b_.refused.front(), HasSubstr("a: it is no member of the cluster that this node knows"));
  // And back.
  b_.network->set_peers({described(a_)});
  ASSERT_TRUE(until([&] { return connected(a_, b_); }));
}

TEST_F(PeerNetworkTest, AnAnswerForAPeerThatWasRemovedGoesNowhere) {
  bring_up();
  Answered answer;
  Answered own;
  b_.network->request(node("a"), Channel::kControl, enlist("web"), {}, io::kTestTime, answer.take());
  a_.network->request(node("b"), Channel::kControl, enlist("web"), {}, io::kLongTime, own.take());
  ASSERT_TRUE(until([&] { return !a_.asked.empty() && !b_.asked.empty(); }));
  const PeerRequest request = a_.take();
  EXPECT_FALSE(request.respond->gone());
  a_.network->set_peers({});  // who has dialled
  EXPECT_TRUE(request.respond->gone());
  p1::Message message;
  message.mutable_enlisted();
  request.respond->answer(std::move(message));
  ASSERT_TRUE(until([&] { return answer.done && own.done; }));
  EXPECT_EQ(answer.refusal->error.code(), ErrorCode::kTransient);
  EXPECT_EQ(own.refusal->error.code(), ErrorCode::kTransient);
  EXPECT_EQ(a_.told.back(), "down b.1");
}

TEST_F(PeerNetworkTest, ARenewedIdentityIsUsedByNewConnections) {
  std::vector<std::string> serials;
  b_.check = [&](const io::TlsPeer& who) -> Status {
    serials.push_back(who.serial);
    return {};
  };
  bring_up();
  const std::string before = serials.back();
  const io::TlsIdentity renewed = identity("a");
  ASSERT_TRUE(a_.network->use(renewed));
  EXPECT_TRUE(connected(a_, b_)) << "sessions go on";
  const std::vector<model::NodeDescription> to{described(b_)};
  a_.network->set_peers({});
  a_.network->set_peers(to);
  ASSERT_TRUE(until([&] { return b_.told.size() >= 3 && connected(a_, b_); }));
  EXPECT_EQ(serials.back(), pki::read_certificate(renewed.certificate).value().serial);
  EXPECT_NE(serials.back(), before);
}

// ---- Messages ----

TEST_F(PeerNetworkTest, RequestsAreAnsweredInBothDirections) {
  bring_up();
  for (const auto& [from, to] : {std::pair(&a_, &b_), std::pair(&b_, &a_)}) {
    for (const Channel channel : {Channel::kControl, Channel::kBulk}) {
      Answered answer;
      from->network->request(to->life.node, channel, enlist("web"), {}, io::kTestTime, answer.take());
      ASSERT_TRUE(until([&] { return !to->asked.empty(); }));
      const PeerRequest request = to->take();
      EXPECT_EQ(request.from, from->life);
      EXPECT_EQ(request.content.message.enlist().container(), "web");
      p1::Message message;
      message.mutable_enlisted()->add_reasons("full");
      request.respond->answer(std::move(message));
      ASSERT_TRUE(until([&] { return answer.done; }));
      EXPECT_EQ(answer.messages.at(0).message.enlisted().reasons(0), "full");
      EXPECT_TRUE(request.respond->gone()) << "it is answered";
    }
  }
}

TEST_F(PeerNetworkTest, AnswersGoToTheirRequestsInAnyOrder) {
  bring_up();
  Answered first;
  Answered second;
  a_.network->request(node("b"), Channel::kControl, enlist("one"), {}, io::kTestTime, first.take());
  a_.network->request(node("b"), Channel::kControl, enlist("two"), {}, io::kTestTime, second.take());
  ASSERT_TRUE(until([&] { return b_.asked.size() == 2; }));
  for (const std::size_t at : {1U, 0U}) {
    p1::Message message;
    message.mutable_enlisted()->add_reasons(b_.asked[at].content.message.enlist().container());
    b_.asked[at].respond->answer(std::move(message));
  }
  ASSERT_TRUE(until([&] { return first.done && second.done; }));
  EXPECT_EQ(first.messages.at(0).message.enlisted().reasons(0), "one");
  EXPECT_EQ(second.messages.at(0).message.enlisted().reasons(0), "two");
}

TEST_F(PeerNetworkTest, MoreAnswersComeUntilTheLast) {
  bring_up();
  Answered answer;
  a_.network->request(node("b"), Channel::kControl, enlist("web"), {}, io::kTestTime, answer.take());
  ASSERT_TRUE(until([&] { return !b_.asked.empty(); }));
  const PeerRequest request = b_.take();
  for (const bool more : {true, true, false, false}) {
    p1::Message message;
    message.set_more(more);
    message.mutable_enlisted();
    request.respond->answer(std::move(message));
  }
  ASSERT_TRUE(until([&] { return answer.done; }));
  pass_one(a_, b_);
  EXPECT_EQ(answer.messages.size(), 3U) << "what follows the last one is dropped";
}

TEST_F(PeerNetworkTest, ARefusalCarriesCodeTextAndTerm) {
  bring_up();
  Answered answer;
  a_.network->request(node("b"), Channel::kControl, enlist("web"), {}, io::kTestTime, answer.take());
  ASSERT_TRUE(until([&] { return !b_.asked.empty(); }));
  b_.take().respond->refuse(Error(ErrorCode::kFenced, "term 7 of 'web' is known here"), Term{7});
  ASSERT_TRUE(until([&] { return answer.done; }));
  EXPECT_EQ(answer.refusal->error.code(), ErrorCode::kFenced);
  EXPECT_EQ(answer.refusal->error.message(), "term 7 of 'web' is known here");
  EXPECT_EQ(answer.refusal->term, Term{7});
}

TEST_F(PeerNetworkTest, ARequestThatNobodyServesIsRefused) {
  bring_up();
  Answered answer;
  p1::Message message;
  message.mutable_leave();
  a_.network->request(node("b"), Channel::kControl, message, {}, io::kTestTime, answer.take());
  ASSERT_TRUE(until([&] { return answer.done; }));
  EXPECT_EQ(answer.refusal->error.code(), ErrorCode::kUnsupported);
}

TEST_F(PeerNetworkTest, ARequestWithoutAnAnswerEndsInTimeAndALateAnswerIsDropped) {
  bring_up();
  Answered answer;
  a_.network->request(node("b"), Channel::kControl, enlist("web"), {}, 50ms, answer.take());
  ASSERT_TRUE(until([&] { return answer.done && !b_.asked.empty(); }));
  EXPECT_EQ(answer.refusal->error.code(), ErrorCode::kTimeout);
  EXPECT_THAT(answer.refusal->error.message(), HasSubstr("node 'b'"));
  p1::Message late;
  late.mutable_enlisted();
  b_.take().respond->answer(std::move(late));
  pass_one(a_, b_);
  EXPECT_THAT(answer.messages, IsEmpty());
  EXPECT_TRUE(connected(a_, b_)) << "it is no fault of the peer";
}

TEST_F(PeerNetworkTest, ARequestToWhoIsNotConnectedIsTransient) {
  start(a_, "a");
  Answered answer;
  a_.network->request(node("b"), Channel::kControl, enlist("web"), {}, io::kTestTime, answer.take());
  EXPECT_FALSE(answer.done) << "never from within the call";
  ASSERT_TRUE(until([&] { return answer.done; }));
  EXPECT_EQ(answer.refusal->error.code(), ErrorCode::kTransient);
  a_.network->notice(node("b"), commit("web"));  // lost without a word
}

TEST_F(PeerNetworkTest, ANoticeHasNoWayBack) {
  bring_up();
  a_.network->notice(node("b"), commit("web"));
  ASSERT_TRUE(until([&] { return !b_.asked.empty(); }));
  const PeerRequest notice = b_.take();
  EXPECT_EQ(notice.respond, nullptr);
  EXPECT_EQ(notice.content.message.commit().container(), "web");
}

// As a later version may send, which has more to say.
TEST_F(PeerNetworkTest, ANoticeThatIsNotKnownIsDroppedAndTheConnectionGoesOn) {
  bring_up();
  p1::Message later;
  ASSERT_TRUE(later.ParseFromString("\xba\x3e\x03web"));  // field 999
  ASSERT_EQ(later.body_case(), p1::Message::BODY_NOT_SET);
  a_.network->notice(node("b"), later);
  a_.network->notice(node("b"), commit("web"));
  ASSERT_TRUE(until([&] { return !b_.asked.empty(); }));
  EXPECT_TRUE(b_.asked.front().content.message.has_commit());
  EXPECT_THAT(a_.told, ::testing::ElementsAre("up b.1"));
  EXPECT_THAT(b_.told, ::testing::ElementsAre("up a.1"));
}

TEST_F(PeerNetworkTest, ARequestIsTransientWhenItsConnectionEnds) {
  bring_up();
  Answered answer;
  a_.network->request(node("b"), Channel::kControl, enlist("web"), {}, io::kTestTime, answer.take());
  ASSERT_TRUE(until([&] { return !b_.asked.empty(); }));
  const PeerRequest request = b_.take();
  b_.network.reset();
  EXPECT_TRUE(request.respond->gone());
  request.respond->refuse(Error(ErrorCode::kIo, "to nobody"), {});
  ASSERT_TRUE(until([&] { return answer.done; }));
  EXPECT_EQ(answer.refusal->error.code(), ErrorCode::kTransient);
}

TEST_F(PeerNetworkTest, BodiesTravelOnTheBulkConnectionInBothDirections) {
  bring_up();
  const auto sent = std::make_shared<const std::string>(3'000'000, 'x');
  Answered answer;
  p1::Message message;
  message.mutable_ship()->set_container("web");
  a_.network->request(node("b"), Channel::kBulk, message, body_of(sent), io::kTestTime, answer.take());
  ASSERT_TRUE(until([&] { return !b_.asked.empty(); }));
  const PeerRequest request = b_.take();
  ASSERT_TRUE(request.content.body);
  EXPECT_TRUE(text_of(request.content.body) == *sent);
  const auto back = std::make_shared<const std::string>("the generation");
  p1::Message reply;
  reply.mutable_fetched_generation();
  request.respond->answer(std::move(reply), body_of(back));
  ASSERT_TRUE(until([&] { return answer.done; }));
  ASSERT_EQ(answer.messages.size(), 1U);
  EXPECT_EQ(text_of(answer.messages[0].body), *back);
}

TEST_F(PeerNetworkTest, ABodyOnTheControlConnectionEndsIt) {
  bring_up();
  Answered answer;
  a_.network->request(node("b"), Channel::kControl, enlist("web"), body_of(std::make_shared<const std::string>("body")),
                      io::kTestTime, answer.take());
  ASSERT_TRUE(until([&] { return answer.done; }));
  EXPECT_EQ(answer.refusal->error.code(), ErrorCode::kTransient);
  EXPECT_THAT(b_.asked, IsEmpty());
  ASSERT_TRUE(until([&] { return connected(a_, b_); }));
}

TEST_F(PeerNetworkTest, ABodyBeyondTheLimitIsNotTaken) {
  start(a_, "a");
  PeerNetworkOptions small = options(b_, "b", 1);
  small.body_limit_bytes = 1000;
  start(b_, small, identity("b"));
  introduce({&a_, &b_});
  ASSERT_TRUE(until([&] { return connected(a_, b_); }));
  Answered answer;
  p1::Message message;
  message.mutable_ship();
  a_.network->request(node("b"), Channel::kBulk, message, body_of(std::make_shared<const std::string>(1001, 'x')),
                      io::kTestTime, answer.take());
  ASSERT_TRUE(until([&] { return answer.done; }));
  EXPECT_TRUE(answer.refusal.has_value());
  EXPECT_THAT(b_.asked, IsEmpty());
}

// ---- Who is refused ----

TEST_F(PeerNetworkTest, ANodeOfAnotherAuthorityIsRefused) {
  const pki::Authority other = pki::Authority::create(kClusterHex, clock_).value();
  start(a_, options(a_, "a", 1), identity("a", other));
  start(b_, "b");
  introduce({&a_, &b_});
  ASSERT_TRUE(until([&] { return !a_.refused.empty() && !b_.refused.empty(); }));
  EXPECT_EQ(b_.network->find(node("a")), nullptr);
  EXPECT_NE(a_.network->trouble(node("b")), "");
}

TEST_F(PeerNetworkTest, ANodeOfAnotherClusterIsRefused) {
  PeerNetworkOptions foreign = options(a_, "a", 1);
  foreign.cluster_id = "another cluster.";
  start(a_, foreign, identity("a"));
  start(b_, "b");
  introduce({&a_, &b_});
  ASSERT_TRUE(until([&] { return !b_.refused.empty(); }));
  EXPECT_EQ(b_.refused.front(), "a: it belongs to another cluster");
  EXPECT_THAT(b_.told, IsEmpty());
}

TEST_F(PeerNetworkTest, ANodeThatSaysAnotherNameThanItsCertificateIsRefused) {
  start(a_, options(a_, "aa", 1), identity("a"));
  start(b_, "b");
  introduce({&a_, &b_});
  ASSERT_TRUE(until([&] { return !b_.refused.empty(); }));
  EXPECT_EQ(b_.refused.front(), "a: its name is not that of its certificate");
  EXPECT_THAT(b_.told, IsEmpty());
}

TEST_F(PeerNetworkTest, WhoseCertificateIsNotTheDialledNodesIsRefused) {
  start(a_, "a");
  start(b_, options(b_, "b", 1), identity("c"));
  introduce({&a_, &b_});
  ASSERT_TRUE(until([&] { return !a_.refused.empty(); }));
  EXPECT_EQ(a_.network->find(node("b")), nullptr);
}

TEST_F(PeerNetworkTest, ARefusalIsToldOnceAMinute) {
  b_.check = [](const io::TlsPeer& who) -> Status {
    return fail(ErrorCode::kPermission, std::format("the certificate of '{}' is revoked", who.name));
  };
  start(a_, "a");
  start(b_, "b");
  introduce({&a_, &b_});
  ASSERT_TRUE(until([&] { return b_.network->refused() >= 6 && a_.network->refused() >= 6; }));
  EXPECT_THAT(b_.refused, ElementsAre(HasSubstr("the certificate of 'a' is revoked")));
  EXPECT_THAT(a_.refused, ElementsAre(HasSubstr("the certificate of 'a' is revoked"))) << "who is refused learns why";
  EXPECT_THAT(a_.network->trouble(node("b")), HasSubstr("revoked"));
  b_.clock.shift = 61s;
  ASSERT_TRUE(until([&] { return b_.refused.size() == 2; }));
}

// ---- What comes before the session is up ----

class EarlyPeerTest : public PeerNetworkTest {
 protected:
  // As node 'a', on one of its two connections.
  std::unique_ptr<io::TlsClient> call(Channel channel) {
    auto open = std::make_shared<bool>(false);
    io::TlsOptions options;
    options.identity = identity("a");
    options.check = [](const io::TlsPeer&) { return Status{}; };
    io::TlsHandlers handlers;
    handlers.on_open = [open](io::TlsConnection&) { *open = true; };
    handlers.on_frame = [this](io::TlsConnection&, const std::string& text, const io::IncomingBody&) {
      EXPECT_TRUE(frames_.emplace_back().ParseFromString(text));
    };
    handlers.on_close = [this](io::TlsConnectionId, const io::TlsPeer&, const Error&) { ++closed_; };
    auto client = io::TlsClient::connect(*a_.loop, {.address = b_.network->addresses().front(), .expected_name = "b"},
                                         io::TlsContext::create(options).value(), handlers,
                                         [](const Error& error) { ADD_FAILURE() << error.message(); })
                      .value();
    EXPECT_TRUE(until([&] { return *open; }));
    p1::Message hello;
    hello.mutable_hello()->set_cluster_id(kClusterId);
    hello.mutable_hello()->set_protocol(kPeerProtocols.oldest);
    hello.mutable_hello()->set_newest_protocol(kPeerProtocols.newest);
    hello.mutable_hello()->mutable_node()->set_name("a");
    hello.mutable_hello()->mutable_node()->set_incarnation(3);
    hello.mutable_hello()->set_bulk(channel == Channel::kBulk);
    EXPECT_TRUE(client->connection()->send(hello.SerializeAsString()));
    return client;
  }
  void knows_a() {
    start(b_, "b");
    b_.network->set_peers(std::vector<model::NodeDescription>{{.life = {node("a"), Incarnation{3}}, .addresses = {"127.0.0.1:9"}}, described(b_)});
  }
  static p1::Message numbered(p1::Message message, std::uint64_t id) {
    message.set_id(id);
    return message;
  }

  std::vector<p1::Message> frames_;
  int closed_ = 0;
};

// The other end is up as soon as it has heard both of our Hellos, and says so on one connection while the other is behind.
TEST_F(EarlyPeerTest, WhatIsAskedBeforeTheSessionIsUpIsHeardAfterwards) {
  knows_a();
  const auto control = call(Channel::kControl);
  ASSERT_TRUE(control->connection()->send(numbered(enlist("web"), 1).SerializeAsString()));
  ASSERT_TRUE(control->connection()->send(numbered(commit("web"), 0).SerializeAsString()));
  p1::Message ping;
  ping.mutable_ping();
  ASSERT_TRUE(control->connection()->send(numbered(ping, 2).SerializeAsString()));
  ASSERT_TRUE(until([&] { return frames_.size() == 2; })) << "a Hello, and the answer to what came last";
  EXPECT_THAT(b_.asked, IsEmpty());
  EXPECT_THAT(b_.told, IsEmpty());
  const auto bulk = call(Channel::kBulk);
  ASSERT_TRUE(until([&] { return b_.asked.size() == 2; }));
  EXPECT_THAT(b_.told, ElementsAre("up a.3"));
  EXPECT_TRUE(b_.asked[0].content.message.has_enlist());
  EXPECT_TRUE(b_.asked[1].content.message.has_commit());
  Answered answer;
  b_.network->request(node("a"), Channel::kControl, enlist("web"), {}, io::kTestTime, answer.take());
  ASSERT_TRUE(until([&] { return frames_.size() == 4 || answer.done; }));
  EXPECT_FALSE(answer.done) << "whoever is told can ask back";
}

TEST_F(EarlyPeerTest, WhoAsksWithoutEndBeforeTheSessionIsUpIsCutOff) {
  knows_a();
  const auto control = call(Channel::kControl);
  while (closed_ == 0) {
    for (int i = 0; i < 256 && control->connection() != nullptr; ++i) {
      (void)control->connection()->send(numbered(commit("web"), 0).SerializeAsString());
    }
    a_.loop->run_until([&] { return closed_ > 0; }, 1ms);
    b_.loop->run_until([] { return false; }, 1ms);
  }
  EXPECT_THAT(b_.asked, IsEmpty());
}

// ---- A connection that is behind the other ----

// As node 'b': answers on the control connection, and ends the first of the others.
class LateBulkTest : public PeerNetworkTest {
 protected:
  void serve(int ended) {
    ended_ = ended;
    io::TlsOptions options;
    options.identity = identity("b");
    io::TlsHandlers handlers;
    handlers.on_frame = [this](io::TlsConnection& connection, const std::string& text, const io::IncomingBody&) {
      p1::Message message;
      ASSERT_TRUE(message.ParseFromString(text));
      if (!message.has_hello()) return;
      const bool bulk = message.hello().bulk();
      if (bulk && ended_-- > 0) return connection.close();
      message.mutable_hello()->mutable_node()->set_name("b");
      message.mutable_hello()->mutable_node()->set_incarnation(3);
      EXPECT_TRUE(connection.send(message.SerializeAsString()));
    };
    server_ = io::TlsServer::listen(*a_.loop, {.addresses = {"127.0.0.1:0"}}, io::TlsContext::create(options).value(), handlers).value();
  }
  std::unique_ptr<io::TlsServer> server_;
  int ended_ = 0;
};

TEST_F(LateBulkTest, WhoAnswersOnOneConnectionIsDialledOnTheOtherAtOnce) {
  serve(3);
  PeerNetworkOptions impatient = options(a_, "a", 1);
  impatient.silence = 100ms;
  impatient.redial_first = 300ms;  // longer than one connection is borne without the other
  impatient.redial_limit = std::chrono::hours(1);
  start(a_, std::move(impatient), identity("a"));
  a_.network->set_peers(std::vector<model::NodeDescription>{
      described(a_), {.life = {node("b"), Incarnation{3}}, .addresses = {server_->addresses().front()}}});
  EXPECT_TRUE(until([&] { return !a_.told.empty(); })) << "each time the one had waited in vain for the other";
  EXPECT_EQ(a_.told.front(), "up b.3");
}

// ---- Joining ----

class JoinerTest : public PeerNetworkTest {
 protected:
  void connect() {
    start(b_, "b");
    io::TlsOptions options;
    options.authority_fingerprint = pki::fingerprint_of(authority_.certificate()).value();
    io::TlsHandlers handlers;
    handlers.on_open = [this](io::TlsConnection&) { open_ = true; };
    handlers.on_frame = [this](io::TlsConnection&, const std::string& text, const io::IncomingBody&) {
      EXPECT_TRUE(frames_.emplace_back().ParseFromString(text));
    };
    handlers.on_close = [this](io::TlsConnectionId, const io::TlsPeer&, const Error&) { closed_ = true; };
    client_ = io::TlsClient::connect(*a_.loop, {.address = b_.network->addresses().front()},
                                     io::TlsContext::create(options).value(), handlers,
                                     [](const Error& error) { ADD_FAILURE() << error.message(); })
                  .value();
    ASSERT_TRUE(until([&] { return open_; }));
  }
  void send(const p1::Message& message) { ASSERT_TRUE(client_->connection()->send(message.SerializeAsString())); }

  std::unique_ptr<io::TlsClient> client_;
  bool open_ = false;
  bool closed_ = false;
  std::vector<p1::Message> frames_;
};

TEST_F(JoinerTest, AJoinRequestNeedsNoCertificateAndIsAnswered) {
  connect();
  p1::Message message;
  message.set_id(1);
  message.mutable_join()->set_name("c");
  send(message);
  ASSERT_TRUE(until([&] { return !b_.joins.empty(); }));
  EXPECT_EQ(b_.joins.front().name(), "c");
  b_.join_answers.front()->refuse(Error(ErrorCode::kPermission, "the token is used up"), {});
  ASSERT_TRUE(until([&] { return !frames_.empty(); }));
  EXPECT_EQ(frames_.front().id(), 1U);
  EXPECT_EQ(frames_.front().error().message(), "the token is used up");
}

TEST_F(JoinerTest, NothingElseIsHeardWithoutACertificate) {
  p1::Message hello;
  hello.mutable_hello()->set_cluster_id(kClusterId);
  hello.mutable_hello()->set_protocol(kPeerProtocols.oldest);
  hello.mutable_hello()->mutable_node()->set_name("a");
  p1::Message answer = commit("web");
  answer.set_is_answer(true);
  for (const p1::Message& message : {hello, enlist("web"), commit("web"), answer}) {
    open_ = closed_ = false;
    connect();
    send(message);
    ASSERT_TRUE(until([&] { return closed_; })) << message.body_case();
    EXPECT_THAT(frames_, IsEmpty());
    EXPECT_THAT(b_.asked, IsEmpty());
    EXPECT_THAT(b_.joins, IsEmpty());
    client_.reset();
  }
}

TEST_F(JoinerTest, ABodyWithoutACertificateEndsTheConnection) {
  connect();
  p1::Message message;
  message.set_id(1);
  message.mutable_join()->set_name("c");
  ASSERT_TRUE(client_->connection()->send(message.SerializeAsString(), body_of(std::make_shared<const std::string>("x"))));
  ASSERT_TRUE(until([&] { return closed_; }));
  EXPECT_THAT(b_.joins, IsEmpty());
}

}  // namespace
}  // namespace perdure::node
