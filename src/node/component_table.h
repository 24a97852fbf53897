// What is known of a container's components, from its agent's reports, and what has changed between two of
// them: pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/report.h"
#include "base/clock.h"

namespace perdure::node {

class ComponentTable {
 public:
  // What of a report is worth an event.
  struct Change {
    enum class Kind {
      kRestarted,  // by the agent; trouble says why
      kFailing,    // its probe fails, not often enough yet
      kHealthy,    // it passes again
      kFailed,     // and the container with it
      kFinished,
    } kind = Kind::kRestarted;
    std::string component;
    std::string trouble{};
    bool operator==(const Change&) const = default;
  };

  // `now` and `wall`: when the report was read. A report of another life, or one that is behind, begins anew:
  // the container was started, or went back.
  std::vector<Change> take(const agent::Report& report, Instant now, WallTime wall);
  // The container was started: whatever its first report says has happened since, and nobody was told of it.
  void started() { fresh_ = true; }
  // The container has ended; what was known of its end stays until the next report.
  void ended() { current_ = false; }

  const std::vector<agent::ComponentReport>& components() const { return report_.components; }
  const std::optional<agent::Ending>& ending() const { return report_.ending; }
  bool current() const { return current_; }
  std::uint64_t heard() const { return heard_; }  // reports so far
  std::optional<Instant> since() const { return since_; }  // of the newest report

  // When the newest success of that component's probe began; nullopt: none has since its last start. The earlier
  // of what both of its clocks say: one errs by what the report was under way, the other by what somebody has
  // set the host's clock.
  std::optional<Instant> passed(const std::string& component) const;

 private:
  struct Passed {
    std::string component;
    Instant begun{};
  };

  agent::Report report_;
  std::vector<Passed> passed_;
  std::optional<Instant> since_;
  std::uint64_t heard_ = 0;
  bool current_ = false;
  bool fresh_ = false;
};

}  // namespace perdure::node
