#include "node/container_record.h"

#include <format>
#include <nlohmann/json.hpp>

namespace perdure::node {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;

Json runtime_to_json(const RuntimeFacts& facts) {
  return {{"pid", facts.init.pid},
          {"start_ticks", facts.init.start_ticks},
          {"stdout", facts.stdout_key},
          {"stderr", facts.stderr_key}};
}

template <typename T>
T member(const Json& object, const char* name) {
  return object.at(name).get<T>();
}

policy::DesiredState desired_from(const std::string& word) {
  for (const auto state : {policy::DesiredState::kRunning, policy::DesiredState::kStopped,
                           policy::DesiredState::kRemoved}) {
    if (policy::to_string(state) == word) return state;
  }
  throw std::out_of_range("member 'desired': unknown state '" + word + "'");
}

Json life_to_json(const model::NodeLife& life) {
  return {{"node", life.node.str()}, {"incarnation", life.incarnation.value}};
}

model::NodeLife life_from(const Json& json) {
  const auto node = NodeName::parse(member<std::string>(json, "node"));
  if (!node) throw std::out_of_range(node.error().message());
  return {*node, Incarnation{member<std::uint64_t>(json, "incarnation")}};
}

Json move_to_json(const policy::ownership::HandingOver& move) {
  Json standbys = Json::array();
  for (const model::NodeLife& standby : move.standbys) standbys.push_back(life_to_json(standby));
  return {{"target", life_to_json(move.target)},
          {"generation", to_string(move.generation)},
          {"term", move.term.value},
          {"standbys", standbys}};
}

policy::ownership::HandingOver move_from(const Json& json) {
  const auto generation = parse_generation(member<std::string>(json, "generation"));
  if (!generation) throw std::out_of_range(generation.error().message());
  policy::ownership::HandingOver move{.target = life_from(json.at("target")),
                                      .generation = *generation,
                                      .term = Term{member<std::uint64_t>(json, "term")},
                                      .standbys = {}};
  for (const Json& standby : json.at("standbys")) move.standbys.push_back(life_from(standby));
  return move;
}

policy::HandingOver handing_over_from(const Json& json) {
  const auto target = NodeName::parse(member<std::string>(json, "target"));
  if (!target) throw std::out_of_range("member 'handing_over': " + target.error().message());
  const auto generation = parse_generation(member<std::string>(json, "generation"));
  if (!generation) throw std::out_of_range("member 'handing_over': " + generation.error().message());
  return {*target, *generation};
}

ContainerRecord parse(const Json& json) {
  if (member<int>(json, "version") != kVersion) throw std::out_of_range("unknown version");
  ContainerRecord record;
  record.state.desired = desired_from(member<std::string>(json, "desired"));
  record.state.begun = member<bool>(json, "begun");
  record.state.finished = member<bool>(json, "finished");
  record.state.gave_up = member<std::string>(json, "gave_up");
  if (json.contains("handing_over")) record.state.handing_over = handing_over_from(json.at("handing_over"));
  record.first_start_done = member<bool>(json, "first_start_done");
  record.created = WallTime(std::chrono::duration_cast<WallTime::duration>(
      std::chrono::milliseconds(member<std::int64_t>(json, "created_unix_ms"))));
  record.failures = member<std::uint64_t>(json, "failures");
  record.restores = member<std::uint64_t>(json, "restores");
  record.image_digest = member<std::string>(json, "image_digest");
  if (json.contains("term")) record.term = Term{member<std::uint64_t>(json, "term")};
  if (json.contains("move")) record.handing_over = move_from(json.at("move"));
  if (json.contains("awaits_word")) record.awaits_word = member<bool>(json, "awaits_word");
  if (json.contains("left_cluster")) record.left_cluster = member<bool>(json, "left_cluster");
  if (json.contains("first_term")) record.first_term = Term{member<std::uint64_t>(json, "first_term")};
  if (json.contains("exit_status")) record.exit_status = member<int>(json, "exit_status");
  if (json.contains("runtime")) {
    const Json& runtime = json.at("runtime");
    RuntimeFacts facts;
    facts.init.pid = member<pid_t>(runtime, "pid");
    facts.init.start_ticks = member<std::uint64_t>(runtime, "start_ticks");
    facts.stdout_key = member<std::string>(runtime, "stdout");
    facts.stderr_key = member<std::string>(runtime, "stderr");
    record.runtime = facts;
  }
  return record;
}

}  // namespace

std::string to_json(const ContainerRecord& record) {
  Json json = {{"version", kVersion},
               {"desired", std::string(policy::to_string(record.state.desired))},
               {"begun", record.state.begun},
               {"finished", record.state.finished},
               {"gave_up", record.state.gave_up},
               {"first_start_done", record.first_start_done},
               {"created_unix_ms", std::chrono::duration_cast<std::chrono::milliseconds>(
                                       record.created.time_since_epoch())
                                       .count()},
               {"failures", record.failures},
               {"restores", record.restores},
               {"image_digest", record.image_digest}};
  if (const auto& moving = record.state.handing_over) {
    json["handing_over"] = {{"target", moving->target.str()}, {"generation", to_string(moving->generation)}};
  }
  if (record.awaits_word) json["awaits_word"] = true;
  if (record.left_cluster) json["left_cluster"] = true;
  if (record.exit_status) json["exit_status"] = *record.exit_status;
  if (record.term.value > 0) json["term"] = record.term.value;
  if (record.first_term.value > 0) json["first_term"] = record.first_term.value;
  if (record.handing_over) json["move"] = move_to_json(*record.handing_over);
  if (record.runtime) json["runtime"] = runtime_to_json(*record.runtime);
  // Reasons may hold bytes of a container that are no UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<ContainerRecord> record_from_json(const std::string& text, const std::string& path) {
  try {
    return parse(Json::parse(text));
  } catch (const std::exception& error) {
    return fail(ErrorCode::kCorrupt, std::format("'{}': {}", path, error.what()));
  }
}

}  // namespace perdure::node
