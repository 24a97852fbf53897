#include "model/cluster.h"

#include <algorithm>
#include <format>

namespace perdure::model {
namespace {

constexpr std::size_t kMaxLabelBytes = 63;

bool is_label(std::string_view text) {
  return !text.empty() && text.size() <= kMaxLabelBytes && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace

std::string_view to_string(DesiredState state) {
  switch (state) {
    case DesiredState::kRunning: return "running";
    case DesiredState::kStopped: return "stopped";
    case DesiredState::kRemoved: return "removed";
  }
  return "unknown";
}

std::string_view to_string(RecordPhase phase) {
  switch (phase) {
    case RecordPhase::kStarting: return "starting";
    case RecordPhase::kRunning: return "running";
    case RecordPhase::kMoving: return "moving";
  }
  return "unknown";
}

const NodeLife* OwnershipRecord::standby(const NodeName& node) const {
  const auto found = std::ranges::find(standbys, node, &NodeLife::node);
  return found == standbys.end() ? nullptr : &*found;
}

Status check_label(std::string_view key, std::string_view value) {
  if (is_label(key) && is_label(value)) return {};
  return fail(ErrorCode::kInvalid, std::format("label '{}={}': use 1 to {} characters of a-z, 0-9, '-', '.' and '_' on both sides",
                                               key.substr(0, 80), value.substr(0, 80), kMaxLabelBytes));
}

}  // namespace perdure::model
