// How long takeovers took: this node became the owner of a container because its former owner was silent.
//
// Who performs a takeover tells a TakeoverMeter of its steps; TakeoverLog remembers the last one of each container for `perdure
// status` and passes all of them on to the metrics. (What a restarted perdured takes over is no takeover in this sense.)
//
// Loop thread only.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"

namespace perdure::node {

class TakeoverMeter {
 public:
  // In this order.
  enum class Step {
    kNoticed,      // the silence has lasted long enough
    kSwapped,      // the record names this node
    kRestored,     // the processes run here
    kFirstPacket,  // the gate has let out the first packet
  };
  static constexpr std::array kSteps{Step::kNoticed, Step::kSwapped, Step::kRestored, Step::kFirstPacket};
  enum class End {
    kCompleted,  // it runs here
    kLost,       // another node was first, or the former owner is still alive
    kFailed,     // this node is the owner and could not restore it
  };
  static constexpr std::array kEnds{End::kCompleted, End::kLost, End::kFailed};

  virtual ~TakeoverMeter() = default;
  // This node sets out to become the owner. One that was under way for the container counts as kFailed.
  virtual void begun(const ContainerName& container, const NodeName& former) = 0;
  // `since_silence`: from the last sign of life of the former owner. Ignored for a container without a takeover, and for a step
  // that was reached before. kFirstPacket may come after the end.
  virtual void reached(const ContainerName& container, Step step, Duration since_silence) = 0;
  // Exactly once per begun(); ignored if none is under way.
  virtual void ended(const ContainerName& container, End end) = 0;
};

std::string_view word(TakeoverMeter::Step step);  // "first_packet"
std::string_view word(TakeoverMeter::End end);

struct TakeoverRecord {
  NodeName former;
  WallTime at{};  // when it was begun
  std::array<std::optional<Duration>, TakeoverMeter::kSteps.size()> steps{};
  const std::optional<Duration>& step(TakeoverMeter::Step step) const { return steps[static_cast<std::size_t>(step)]; }
};

// Of so many containers the last takeover is remembered; beyond it that of the longest ago is forgotten. More than one node runs.
inline constexpr std::size_t kMaxTakeoverRecords = 1024;

class TakeoverLog final : public TakeoverMeter {
 public:
  struct Observers {
    std::function<void(Step, Duration since_silence)> on_step{};
    std::function<void(End)> on_end{};
  };
  TakeoverLog(const Clock& clock, Observers observers) : clock_(clock), observers_(std::move(observers)) {}

  void begun(const ContainerName& container, const NodeName& former) override;
  void reached(const ContainerName& container, Step step, Duration since_silence) override;
  void ended(const ContainerName& container, End end) override;

  // The last one that was completed here; nullptr: none since perdured started.
  const TakeoverRecord* last(const ContainerName& container) const;

 private:
  void keep(const ContainerName& container, TakeoverRecord record);

  const Clock& clock_;
  const Observers observers_;
  std::map<ContainerName, TakeoverRecord> under_way_;
  std::map<ContainerName, TakeoverRecord> completed_;
};

}  // namespace perdure::node
