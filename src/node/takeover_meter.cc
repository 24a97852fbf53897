#include "node/takeover_meter.h"

#include <algorithm>
#include <utility>

namespace perdure::node {

std::string_view word(TakeoverMeter::Step step) {
  using enum TakeoverMeter::Step;
  switch (step) {
    case kNoticed: return "noticed";
    case kSwapped: return "swapped";
    case kRestored: return "restored";
    case kFirstPacket: return "first_packet";
  }
  return "unknown";
}

std::string_view word(TakeoverMeter::End end) {
  using enum TakeoverMeter::End;
  switch (end) {
    case kCompleted: return "completed";
    case kLost: return "lost";
    case kFailed: return "failed";
  }
  return "unknown";
}

void TakeoverLog::begun(const ContainerName& container, const NodeName& former) {
  ended(container, End::kFailed);
  under_way_.insert_or_assign(container, TakeoverRecord{.former = former, .at = clock_.wall()});
}

void TakeoverLog::reached(const ContainerName& container, Step step, Duration since_silence) {
  auto found = under_way_.find(container);
  if (found == under_way_.end()) {
    if (step != Step::kFirstPacket) return;
    found = completed_.find(container);
    if (found == completed_.end()) return;
  }
  std::optional<Duration>& reached = found->second.steps[static_cast<std::size_t>(step)];
  if (reached) return;
  reached = since_silence;
  if (observers_.on_step) observers_.on_step(step, since_silence);
}

void TakeoverLog::ended(const ContainerName& container, End end) {
  auto ended = under_way_.extract(container);
  if (ended.empty()) return;
  if (end == End::kCompleted) keep(container, std::move(ended.mapped()));
  if (observers_.on_end) observers_.on_end(end);
}

void TakeoverLog::keep(const ContainerName& container, TakeoverRecord record) {
  completed_.insert_or_assign(container, std::move(record));
  if (completed_.size() <= kMaxTakeoverRecords) return;
  completed_.erase(std::ranges::min_element(completed_, {}, [](const auto& entry) { return entry.second.at; }));
}

const TakeoverRecord* TakeoverLog::last(const ContainerName& container) const {
  const auto found = completed_.find(container);
  return found == completed_.end() ? nullptr : &found->second;
}

}  // namespace perdure::node
