// Records, nodes and what belongs to containers; the cluster's own messages are in cluster_settings_codec.cc.
#include "coord/cluster_codec.h"

#include <algorithm>
#include <format>
#include <map>
#include <set>
#include <utility>

#include "coord/codec_parts.h"

namespace perdure::coord {
namespace {

namespace v1 = perdure::cluster::v1;

Result<model::NodeLife> read_life(const v1::NodeId& id, std::string_view what) {
  PERDURE_ASSIGN(auto node, named(what, NodeName::parse(id.name())));
  return model::NodeLife{std::move(node), Incarnation{id.incarnation()}};
}

// Another node's unknown fields are not kept.
void write_life(const model::NodeLife& life, v1::NodeId& id) {
  if (id.name() != life.node.str()) id.Clear();
  id.set_name(life.node.str());
  id.set_incarnation(life.incarnation.value);
}

Result<model::DesiredState> read_desired(v1::DesiredState state) {
  switch (static_cast<int>(state)) {
    case v1::DESIRED_RUNNING: return model::DesiredState::kRunning;
    case v1::DESIRED_STOPPED: return model::DesiredState::kStopped;
    case v1::DESIRED_REMOVED: return model::DesiredState::kRemoved;
    default: return bad("desired state", "this version does not know it; update this node");
  }
}

v1::DesiredState to_message(model::DesiredState state) {
  switch (state) {
    case model::DesiredState::kRunning: return v1::DESIRED_RUNNING;
    case model::DesiredState::kStopped: return v1::DESIRED_STOPPED;
    case model::DesiredState::kRemoved: return v1::DESIRED_REMOVED;
  }
  return v1::DESIRED_UNSPECIFIED;
}

Result<model::RecordPhase> read_phase(v1::RecordPhase phase) {
  switch (static_cast<int>(phase)) {
    case v1::RECORD_STARTING: return model::RecordPhase::kStarting;
    case v1::RECORD_RUNNING: return model::RecordPhase::kRunning;
    case v1::RECORD_MOVING: return model::RecordPhase::kMoving;
    default: return bad("phase", "this version does not know it; update this node");
  }
}

v1::RecordPhase to_message(model::RecordPhase phase) {
  switch (phase) {
    case model::RecordPhase::kStarting: return v1::RECORD_STARTING;
    case model::RecordPhase::kRunning: return v1::RECORD_RUNNING;
    case model::RecordPhase::kMoving: return v1::RECORD_MOVING;
  }
  return v1::RECORD_PHASE_UNSPECIFIED;
}

Result<std::vector<model::NodeLife>> read_standbys(const v1::ContainerRecord& message, const NodeName& owner) {
  if (message.standbys_size() > static_cast<int>(kMaxStandbys)) {
    return bad("standbys", std::format("{}: at most {} are allowed", message.standbys_size(), kMaxStandbys));
  }
  std::vector<model::NodeLife> standbys;
  std::set<NodeName> seen{owner};
  for (const v1::NodeId& id : message.standbys()) {
    PERDURE_ASSIGN(auto standby, read_life(id, "standby"));
    if (!seen.insert(standby.node).second) return bad("standbys", std::format("'{}' is named twice", standby.node.str()));
    standbys.push_back(std::move(standby));
  }
  return standbys;
}

void write_standbys(const std::vector<model::NodeLife>& standbys, v1::ContainerRecord& message) {
  std::map<std::string, v1::NodeId> before;
  for (const v1::NodeId& id : message.standbys()) before.emplace(id.name(), id);
  message.clear_standbys();
  for (const model::NodeLife& standby : standbys) {
    v1::NodeId& id = *message.add_standbys();
    if (const auto known = before.find(standby.node.str()); known != before.end()) id = known->second;
    write_life(standby, id);
  }
}

Result<model::HostFacts> read_facts(const v1::HostFacts& message) {
  PERDURE_TRY(check_text("kernel release", message.kernel_release(), kMaxShortText));
  PERDURE_TRY(check_text("machine", message.machine(), kMaxShortText));
  PERDURE_TRY(check_text("criu version", message.criu_version(), kMaxShortText));
  PERDURE_TRY(check_count("cpu features", message.cpu_features_size(), kMaxCpuFeatures));
  model::HostFacts facts;
  for (const std::string& feature : message.cpu_features()) {
    PERDURE_TRY(check_text("cpu feature", feature, kMaxShortText));
    facts.cpu_features.push_back(feature);
  }
  std::ranges::sort(facts.cpu_features);
  facts.kernel_release = message.kernel_release();
  facts.machine = message.machine();
  facts.criu_version = message.criu_version();
  facts.memory_bytes = message.memory_bytes();
  facts.processors = message.processors();
  facts.can_restore_other_users = message.can_restore_other_users();
  return facts;
}

void write_facts(const model::HostFacts& facts, v1::HostFacts& message) {
  message.set_kernel_release(facts.kernel_release);
  message.set_machine(facts.machine);
  message.set_criu_version(facts.criu_version);
  message.clear_cpu_features();
  for (const std::string& feature : facts.cpu_features) message.add_cpu_features(feature);
  message.set_memory_bytes(facts.memory_bytes);
  message.set_processors(facts.processors);
  message.set_can_restore_other_users(facts.can_restore_other_users);
}

Status check_node(const v1::Node& message) {
  PERDURE_TRY(check_count("addresses", message.addresses_size(), kMaxNodeAddresses));
  for (const std::string& address : message.addresses()) PERDURE_TRY(check_text("address", address, kMaxShortText));
  PERDURE_TRY(check_count("labels", static_cast<int>(message.labels().size()), kMaxLabels));
  for (const auto& [key, value] : message.labels()) PERDURE_TRY(model::check_label(key, value));
  PERDURE_TRY(check_text("version", message.version(), kMaxShortText));
  if (!message.certificate_serial().empty()) PERDURE_TRY(check_serial(message.certificate_serial()));
  PERDURE_TRY(check_text("etcd client url", message.etcd_client_url(), kMaxShortText));
  return check_text("etcd peer url", message.etcd_peer_url(), kMaxShortText);
}

}  // namespace

Result<model::OwnershipRecord> decode_record(std::string_view bytes) {
  PERDURE_ASSIGN(const auto message, parsed<v1::ContainerRecord>(bytes));
  PERDURE_ASSIGN(auto container, ContainerName::parse(message.name()));
  PERDURE_ASSIGN(auto owner, read_life(message.owner(), "owner"));
  PERDURE_ASSIGN(auto standbys, read_standbys(message, owner.node));
  PERDURE_ASSIGN(auto writer, read_life(message.writer(), "writer"));
  PERDURE_ASSIGN(const auto desired, read_desired(message.desired()));
  PERDURE_ASSIGN(const auto phase, read_phase(message.phase()));
  PERDURE_ASSIGN(const auto created, read_time("creation time", message.created_unix_ms()));
  PERDURE_TRY(check_text("digest of the specification", message.spec_digest(), kMaxShortText));
  PERDURE_TRY(check_text("digest of the image", message.image_digest(), kMaxShortText));
  PERDURE_TRY(check_text("application", message.application(), kMaxShortText));
  if (message.term() == 0) return bad("term", "terms begin at 1");
  model::Nonce nonce{};
  PERDURE_TRY(read_array("nonce", message.nonce(), nonce));
  return model::OwnershipRecord{std::move(container), std::move(owner), std::move(standbys), Term{message.term()},
                                message.spec_digest(), message.image_digest(), desired, phase, std::move(writer), nonce,
                                created, message.application()};
}

std::string encode_record(const model::OwnershipRecord& record, std::string_view before) {
  auto message = unchecked<v1::ContainerRecord>(before);
  message.set_name(record.container.str());
  write_life(record.owner, *message.mutable_owner());
  write_standbys(record.standbys, message);
  message.set_term(record.term.value);
  message.set_spec_digest(record.spec_digest);
  message.set_image_digest(record.image_digest);
  message.set_desired(to_message(record.desired));
  message.set_phase(to_message(record.phase));
  write_life(record.writer, *message.mutable_writer());
  message.set_nonce(record.nonce.data(), record.nonce.size());
  message.set_created_unix_ms(to_unix_ms(record.created));
  message.set_application(record.application);
  return serialized(message);
}

Result<model::NodeDescription> decode_node(std::string_view bytes) {
  PERDURE_ASSIGN(const auto message, parsed<v1::Node>(bytes));
  PERDURE_ASSIGN(auto name, NodeName::parse(message.name()));
  PERDURE_TRY(check_node(message));
  PERDURE_ASSIGN(auto facts, read_facts(message.facts()));
  PERDURE_ASSIGN(const auto joined, read_time("time of joining", message.joined_unix_ms()));
  return model::NodeDescription{
      .life = {std::move(name), Incarnation{message.incarnation()}},
      .addresses = {message.addresses().begin(), message.addresses().end()},
      .labels = {message.labels().begin(), message.labels().end()},
      .manager = message.manager(),
      .witness = message.witness(),
      .cordoned = message.cordoned(),
      .version = message.version(),
      .facts = std::move(facts),
      .certificate_serial = message.certificate_serial(),
      .joined = joined,
      .etcd_client_url = message.etcd_client_url(),
      .etcd_peer_url = message.etcd_peer_url(),
  };
}

std::string encode_node(const model::NodeDescription& node, std::string_view before) {
  auto message = unchecked<v1::Node>(before);
  message.set_name(node.life.node.str());
  message.set_incarnation(node.life.incarnation.value);
  message.clear_addresses();
  for (const std::string& address : node.addresses) message.add_addresses(address);
  message.clear_labels();
  for (const auto& [key, value] : node.labels) (*message.mutable_labels())[key] = value;
  message.set_manager(node.manager);
  message.set_witness(node.witness);
  message.set_cordoned(node.cordoned);
  message.set_version(node.version);
  write_facts(node.facts, *message.mutable_facts());
  message.set_certificate_serial(node.certificate_serial);
  message.set_joined_unix_ms(to_unix_ms(node.joined));
  message.set_etcd_client_url(node.etcd_client_url);
  message.set_etcd_peer_url(node.etcd_peer_url);
  return serialized(message);
}

Result<std::string> decode_spec(std::string_view bytes) {
  PERDURE_ASSIGN(auto message, parsed<v1::ContainerSpecification>(bytes));
  PERDURE_TRY(check_size("specification", message.yaml(), kMaxSpecBytes));
  return std::move(*message.mutable_yaml());
}

std::string encode_spec(std::string_view yaml, std::string_view before) {
  auto message = unchecked<v1::ContainerSpecification>(before);
  message.set_yaml(std::string(yaml));
  return serialized(message);
}

Result<AddressClaim> decode_claim(std::string_view bytes) {
  PERDURE_ASSIGN(const auto message, parsed<v1::AddressClaim>(bytes));
  PERDURE_ASSIGN(auto container, ContainerName::parse(message.container()));
  return AddressClaim{std::move(container), Term{message.term()}};
}

std::string encode_claim(const AddressClaim& claim, std::string_view before) {
  auto message = unchecked<v1::AddressClaim>(before);
  message.set_container(claim.container.str());
  message.set_term(claim.term.value);
  return serialized(message);
}

}  // namespace perdure::coord
