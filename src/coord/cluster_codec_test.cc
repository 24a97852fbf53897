// Proves that every value comes back as it was written, that fields of newer versions survive a change, and that each bound is
// kept and named.
#include "coord/cluster_codec.h"

#include "cluster.pb.h"
#include "coord/cluster_keys.h"
#include "coord/etcd_test_support.h"
#include "gmock/gmock.h"

namespace perdure::coord {
namespace {

namespace v1 = perdure::cluster::v1;
using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::string_view kUnknown("\xf2\x3f\x03new", 6);  // field 1022, a string

model::NodeLife life(std::string_view name, std::uint64_t incarnation) {
  return {NodeName::parse(name).value(), Incarnation{incarnation}};
}

model::OwnershipRecord record() {
  return {ContainerName::parse("web").value(), life("a", 1), {life("b", 2), life("c", 3)}, Term{4}, "sha256:s", "sha256:i",
          model::DesiredState::kStopped, model::RecordPhase::kMoving, life("b", 2), {1, 2, 3}, WallTime(1700000000s)};
}

model::NodeDescription node() {
  return {.life = life("a", 1),
          .addresses = {"192.0.2.1:7400", "[2001:db8::1]:7400"},
          .labels = {{"rack", "r1"}, {"server", "s-2"}},
          .manager = true,
          .witness = true,
          .cordoned = true,
          .version = "0.1.0",
          .facts = {"6.18.0", "x86_64", "4.2.1", {"avx", "sse2"}, 1U << 30U, 8, true},
          .certificate_serial = "0A1B",
          .joined = WallTime(1700000001s),
          .etcd_client_url = "https://192.0.2.1:7401",
          .etcd_peer_url = "https://192.0.2.1:7402"};
}

template <typename T>
std::string refusal(const Result<T>& result) {
  if (result) return "accepted";
  EXPECT_EQ(result.error().code(), ErrorCode::kInvalid);
  return result.error().message();
}

// A record's message, changed.
std::string changed(const std::function<void(v1::ContainerRecord&)>& change) {
  v1::ContainerRecord message;
  EXPECT_TRUE(message.ParseFromString(encode_record(record())));
  change(message);
  return message.SerializeAsString();
}
std::string changed_node(const std::function<void(v1::Node&)>& change) {
  v1::Node message;
  EXPECT_TRUE(message.ParseFromString(encode_node(node())));
  change(message);
  return message.SerializeAsString();
}

TEST(ClusterCodec, ValuesComeBackAsTheyWere) {
  EXPECT_EQ(value_of(decode_record(encode_record(record()))), record());
  EXPECT_EQ(value_of(decode_node(encode_node(node()))), node());
  for (const auto desired : {model::DesiredState::kRunning, model::DesiredState::kStopped, model::DesiredState::kRemoved}) {
    for (const auto phase : {model::RecordPhase::kStarting, model::RecordPhase::kRunning, model::RecordPhase::kMoving}) {
      auto one = record();
      one.desired = desired;
      one.phase = phase;
      EXPECT_EQ(value_of(decode_record(encode_record(one))), one);
    }
  }
  EXPECT_EQ(value_of(decode_spec(encode_spec("a: 1\n"))), "a: 1\n");
  const AddressClaim claim{ContainerName::parse("web").value(), Term{9}};
  EXPECT_EQ(value_of(decode_claim(encode_claim(claim))), claim);
  const ClusterSettings cluster{{1, 2}, "PEM", WallTime(5s), {{3, std::string(12, 'n'), std::string(48, 's'), WallTime(6s)}}, "/mnt/x", 2, true, policy::lease::kFastTiming};
  const auto back = value_of(decode_cluster(encode_cluster(cluster)));
  EXPECT_EQ(back.id, cluster.id);
  EXPECT_EQ(back.keys.at(0).sealed, cluster.keys[0].sealed);
  EXPECT_EQ(back.keys.at(0).created, cluster.keys[0].created);
  EXPECT_EQ(back.durable_directory, "/mnt/x");
  EXPECT_EQ(back.standbys, 2U);
  EXPECT_TRUE(back.external_etcd);
  EXPECT_EQ(back.timing, policy::lease::kFastTiming);
  const auto token = value_of(decode_token(encode_token({"ab12", std::string(32, 'h'), WallTime(7s), 3})));
  EXPECT_EQ(token.id, "ab12");
  EXPECT_EQ(token.uses_left, 3U);
  const auto revoked = value_of(decode_revocation(encode_revocation({NodeName::parse("a").value(), {"0a", "FF"}, WallTime(8s), "why"})));
  EXPECT_THAT(revoked.serials, testing::ElementsAre("0a", "FF"));
  EXPECT_EQ(revoked.reason, "why");
}

TEST(ClusterCodec, WhatANewerVersionWroteSurvives) {
  const std::string before = changed([](v1::ContainerRecord& message) {
    ASSERT_TRUE(message.MergeFromString(std::string(kUnknown)));
    ASSERT_TRUE(message.mutable_standbys(1)->MergeFromString(std::string(kUnknown)));
  });
  auto next = record();
  next.standbys = {life("c", 8), life("d", 1)};
  const std::string after = encode_record(next, before);
  EXPECT_EQ(value_of(decode_record(after)), next);
  v1::ContainerRecord message;
  ASSERT_TRUE(message.ParseFromString(after));
  EXPECT_THAT(message.standbys(0).SerializeAsString(), HasSubstr(std::string(kUnknown)));
  message.clear_standbys();
  EXPECT_THAT(message.SerializeAsString(), HasSubstr(std::string(kUnknown)));
  const std::string node_before = encode_node(node()) + std::string(kUnknown);
  EXPECT_THAT(encode_node(node(), node_before), HasSubstr(std::string(kUnknown)));
  EXPECT_THAT(encode_cluster({}, std::string(kUnknown)), HasSubstr(std::string(kUnknown)));
  // Not readable before: written anew.
  EXPECT_EQ(value_of(decode_record(encode_record(record(), "garbage"))), record());
}

// What an older node wrote says nothing of it; what says nothing sensible is refused.
TEST(ClusterCodec, TheTimingOfGrantsIsTheDefaultUnlessTheSettingsSayAnother) {
  ClusterSettings settings;
  settings.timing = {.heartbeat = 100ms, .grant = 500ms, .margin = 60ms};
  const std::string custom = encode_cluster(settings);
  EXPECT_EQ(value_of(decode_cluster(custom)).timing, settings.timing);
  settings.timing = {};
  const std::string back = encode_cluster(settings, custom);
  EXPECT_EQ(back, encode_cluster(settings)) << "as before there were others";
  EXPECT_EQ(value_of(decode_cluster(back)).timing, policy::lease::Timing{});
  v1::Cluster message;
  ASSERT_TRUE(message.ParseFromString(custom));
  message.mutable_timing()->set_grant_ns(1);
  EXPECT_THAT(refusal(decode_cluster(message.SerializeAsString())), HasSubstr("timing"));
}

TEST(ClusterCodec, RecordsThatBreakARuleAreRefusedByField) {
  using Message = v1::ContainerRecord;
  EXPECT_THAT(refusal(decode_record("garbage")), HasSubstr("damaged"));
  EXPECT_THAT(refusal(decode_record("")), HasSubstr("container name"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.set_name("No"); }))), HasSubstr("container name"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.clear_owner(); }))), HasSubstr("owner"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.clear_writer(); }))), HasSubstr("writer"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.set_term(0); }))), HasSubstr("term"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.set_nonce("short"); }))), HasSubstr("nonce"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.clear_desired(); }))), HasSubstr("desired state"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.set_phase(static_cast<v1::RecordPhase>(9)); }))), HasSubstr("phase"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.mutable_standbys(0)->set_name("a"); }))), HasSubstr("named twice"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.mutable_standbys(0)->set_name("c"); }))), HasSubstr("named twice"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.set_created_unix_ms(-1); }))), HasSubstr("time"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.set_image_digest(std::string(300, 'x')); }))), HasSubstr("image"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) { m.set_spec_digest("a\x1b[2J"); }))), HasSubstr("control"));
  EXPECT_THAT(refusal(decode_record(changed([](Message& m) {
                for (int i = 0; i < 9; ++i) m.add_standbys()->set_name("n" + std::to_string(i));
              }))),
              HasSubstr("standbys"));
}

TEST(ClusterCodec, NodesThatBreakABoundAreRefusedByField) {
  using Message = v1::Node;
  EXPECT_THAT(refusal(decode_node(changed_node([](Message& m) { m.set_name(""); }))), HasSubstr("node name"));
  EXPECT_THAT(refusal(decode_node(changed_node([](Message& m) { (*m.mutable_labels())["Rack"] = "1"; }))), HasSubstr("label"));
  EXPECT_THAT(refusal(decode_node(changed_node([](Message& m) { m.set_certificate_serial("xyz"); }))), HasSubstr("serial"));
  EXPECT_THAT(refusal(decode_node(changed_node([](Message& m) {
                for (int i = 0; i < 20; ++i) m.add_addresses("x");
              }))),
              HasSubstr("addresses"));
  EXPECT_THAT(refusal(decode_node(changed_node([](Message& m) {
                for (int i = 0; i < 1100; ++i) m.mutable_facts()->add_cpu_features("x");
              }))),
              HasSubstr("cpu features"));
  EXPECT_THAT(refusal(decode_node(changed_node([](Message& m) { m.set_etcd_peer_url(std::string(300, 'x')); }))), HasSubstr("peer url"));
}

TEST(ClusterCodec, TheRestIsBoundedToo) {
  EXPECT_THAT(refusal(decode_spec(encode_spec(std::string(kMaxSpecBytes + 1, 'x')))), HasSubstr("specification"));
  EXPECT_THAT(refusal(decode_spec(std::string(kMaxValueBytes + 1, 'x'))), HasSubstr("too many"));
  EXPECT_THAT(refusal(decode_token(encode_token({"AB", std::string(32, 'h'), WallTime(7s), 3}))), HasSubstr("token"));
  EXPECT_THAT(refusal(decode_token(encode_token({"ab", "short", WallTime(7s), 3}))), HasSubstr("hash"));
  EXPECT_THAT(refusal(decode_cluster("")), HasSubstr("cluster id"));
  EXPECT_THAT(refusal(decode_cluster(encode_cluster({.durable_directory = "relative"}))), HasSubstr("absolute"));
  EXPECT_THAT(refusal(decode_cluster(encode_cluster({.standbys = 99}))), HasSubstr("standbys"));
  EXPECT_THAT(refusal(decode_cluster(encode_cluster({.keys = {{1, "n", "s", WallTime(1s)}}}))), HasSubstr("nonce of a key"));
  EXPECT_THAT(refusal(decode_claim("")), HasSubstr("container name"));
}

TEST(ClusterKeys, AreWhatTheyAreReadAs) {
  const auto parsed = [](const std::string& key) { return parse_key(key); };
  const NodeName name = NodeName::parse("a").value();
  const std::string node_key_text = node_key(name);
  EXPECT_EQ(node_key_text, "/perdure/1/nodes/a");
  EXPECT_EQ(parsed(node_key_text).kind, KeyKind::kNode);
  EXPECT_EQ(parse_key(node_key_text).rest, "a");
  EXPECT_EQ(address_key(model::IpAddress::parse("2001:DB8::1").value()), "/perdure/1/addresses/2001:db8::1");
  EXPECT_EQ(parse_key("/perdure/1/cluster").kind, KeyKind::kCluster);
  EXPECT_EQ(parse_key("/perdure/1/clusters").kind, KeyKind::kOther);
  EXPECT_EQ(parse_key("/elsewhere").kind, KeyKind::kOther);
  EXPECT_EQ(token_key("a/b").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(token_key("").error().code(), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace perdure::coord
