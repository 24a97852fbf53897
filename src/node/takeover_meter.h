// How long takeovers take: this node becomes the owner of a container because its former owner is silent.
//
// Who performs a takeover tells a TakeoverMeter of its steps; TakeoverTracker sorts out what is counted and passes it on to the
// metrics. (What a restarted perdured takes over is no takeover in this sense.)
//
// Loop thread only.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
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
    kFailed,     // this node is the owner and could not restore what it held
  };
  static constexpr std::array kEnds{End::kCompleted, End::kLost, End::kFailed};

  virtual ~TakeoverMeter() = default;
  // This node sets out to become the owner. One that was under way for the container counts as kLost.
  virtual void begun(const ContainerName& container) = 0;
  // `since_silence`: from the last sign of life of the former owner. Ignored for a container without a takeover, and for a step
  // that was reached before. kFirstPacket comes after kCompleted.
  virtual void reached(const ContainerName& container, Step step, Duration since_silence) = 0;
  // The first one after begun() counts.
  virtual void ended(const ContainerName& container, End end) = 0;
};

std::string_view word(TakeoverMeter::Step step);  // "first_packet"
std::string_view word(TakeoverMeter::End end);

// Of so many completed ones the first packet is waited for; beyond it that of the first container by name is not counted. More than
// one node runs.
inline constexpr std::size_t kMaxAwaitedPackets = 1024;

class TakeoverTracker final : public TakeoverMeter {
 public:
  struct Observers {
    std::function<void(Step, Duration since_silence)> on_step{};
    std::function<void(End)> on_end{};
  };
  explicit TakeoverTracker(Observers observers) : observers_(std::move(observers)) {}

  void begun(const ContainerName& container) override;
  void reached(const ContainerName& container, Step step, Duration since_silence) override;
  void ended(const ContainerName& container, End end) override;

 private:
  struct UnderWay {
    bool completed = false;
    std::array<bool, kSteps.size()> reached{};
  };
  const Observers observers_;
  std::map<ContainerName, UnderWay> takeovers_;
};

}  // namespace perdure::node
