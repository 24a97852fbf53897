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

void TakeoverTracker::begun(const ContainerName& container) {
  ended(container, End::kLost);
  takeovers_.insert_or_assign(container, UnderWay{});
}

void TakeoverTracker::reached(const ContainerName& container, Step step, Duration since_silence) {
  const auto found = takeovers_.find(container);
  if (found == takeovers_.end() || found->second.completed != (step == Step::kFirstPacket)) return;
  if (std::exchange(found->second.reached[static_cast<std::size_t>(step)], true)) return;
  if (step == Step::kFirstPacket) takeovers_.erase(found);
  if (observers_.on_step) observers_.on_step(step, since_silence);
}

void TakeoverTracker::ended(const ContainerName& container, End end) {
  const auto found = takeovers_.find(container);
  if (found == takeovers_.end() || found->second.completed) return;
  if (end == End::kCompleted) {
    found->second.completed = true;
    if (takeovers_.size() > kMaxAwaitedPackets) {
      const auto waits = std::ranges::find_if(takeovers_, [](const auto& entry) { return entry.second.completed; });
      takeovers_.erase(waits);
    }
  } else {
    takeovers_.erase(found);
  }
  if (observers_.on_end) observers_.on_end(end);
}

}  // namespace perdure::node
