// What follows when a container has ended: the lower half of Fig. 6 of the paper, as one pure function.
//
// The restart in place comes first because the state is at hand; another node goes on with it when this one
// has not brought it back often enough, for its trouble may be this host's. component_recovery.h is the upper half;
// testdata/recovery.txt is the table of both.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "policy/generations.h"
#include "policy/options.h"

namespace perdure::policy {

enum class DesiredState { kRunning, kStopped, kRemoved };

// How the container's init ended.
struct ExitStatus {
  enum class Kind {
    kExited,
    kSignalled,
    kComponent,  // its agent ended because of a component that it could not mend alone
    kUnknown
  } kind = Kind::kUnknown;  // unknown: nobody was there to see it
  int value = 0;            // exit code or signal number
  std::string component{};  // with kComponent: its name
  std::string trouble{};    // ... and what was wrong: "was killed by signal 9 (KILL)"; with kSignalled: why, if it is known
  static ExitStatus exited(int code) { return {Kind::kExited, code}; }
  static ExitStatus signalled(int number) { return {Kind::kSignalled, number}; }
  static ExitStatus failed_component(std::string name, std::string what) {
    return {Kind::kComponent, 0, std::move(name), std::move(what)};
  }
  bool operator==(const ExitStatus&) const = default;
};
// "exited with code 3", "was killed by signal 11 (SEGV)", "was found dead", "failed with its component 'db',
// which exited with code 1".
std::string to_string(const ExitStatus& status);

enum class RestoreFailure {
  kCorrupt,       // the capsule does not verify
  kMissingFiles,  // parts of it cannot be found
  kCriu,          // CRIU refused or failed
  kHost,          // no fault of the capsule: memory, network, a deadline
};
std::string_view to_string(RestoreFailure why);

// A restore that the container has not outlived for the probation.
struct Probation {
  enum class After {
    kRestore,  // it went back: what it went back to may carry its own death
    kMove,     // it lives on elsewhere, nothing was rolled back
  };
  Generation restored;
  std::uint64_t first_number =
      0;  // generations with this number or a higher one were captured since
  After after = After::kRestore;
  bool operator==(const Probation&) const = default;
};

struct RecoveryQuestion {
  enum class Trouble {
    kDied,           // status says how
    kRestoreFailed,  // failed_generation and failure say what
    kStartFailed,    // a cold start failed; may succeed later
    kOperatorStart,  // an operator starts a container that was given up
    kFailoverFailed,  // refused_by and refusal say who did not take it, and why; it is here still
  } trouble = Trouble::kDied;
  ExitStatus status;
  Generation failed_generation;
  RestoreFailure failure = RestoreFailure::kCriu;
  std::optional<NodeName> refused_by;
  std::string refusal;

  DesiredState desired = DesiredState::kRunning;
  Statefulness statefulness = Statefulness::kStateful;
  ColdStart cold_start = ColdStart::kAllowed;
  RestartPolicy restart = RestartPolicy::kOnFailure;
  Blame blame = Blame::kAnyDeath;
  std::uint32_t restores_in_window =
      0;  // restores and cold starts that policy, not an operator, began
  std::uint32_t max_restores = 5;
  Duration restore_window{};           // for the reason given
  // Restores in a row on this host that failed, or were not outlived for the probation, the last one included.
  std::uint32_t failed_in_place = 0;
  std::uint32_t max_in_place = 2;
  std::optional<NodeName> other_node;  // the best standby that could go on with it, and has not refused to
  std::string no_other_node;           // without one: why, for the reason given; empty: there is no cluster
  std::uint32_t failovers_in_window = 0;
  std::uint32_t max_failovers = 1;
  Duration failover_window{};          // for the reason given
  std::optional<Probation> probation;  // only with kDied: it died within
  std::span<const GenerationInfo> generations;
};

struct MarkedGeneration {
  Generation id;
  Mark mark = Mark::kSuspect;
  bool operator==(const MarkedGeneration&) const = default;
};

struct RecoveryDecision {
  enum class Action {
    kStayStopped,  // as desired, or it finished by itself
    kRestore,      // `generation`, in place
    kFailOver,     // `generation`, on `node`
    kColdStart,
    kGiveUp,
  } action = Action::kGiveUp;
  std::optional<Generation> generation;
  std::optional<NodeName> node;
  std::vector<MarkedGeneration> marks;  // what this failure says of generations, oldest first
  std::string trouble;                  // what happened: for people
  std::string reason;                   // the trouble, and what follows from it
  std::string remedy;                   // with kGiveUp: what an operator can do
};

// What is done, in a few words: "back to generation 1.1.3", "node 'b' goes on with generation 1.1.3".
std::string to_string(const RecoveryDecision& decision);

// It exited with 0: no failure, so nothing is to blame and no limit counts it.
bool finished_by_itself(const RecoveryQuestion& question);

RecoveryDecision decide_recovery(const RecoveryQuestion& question);

}  // namespace perdure::policy
