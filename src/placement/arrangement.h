// A solution under way: what has a place, what each node bears, and how good it is. Changes and questions cost what they
// touch, not the whole. It never breaks a rule of violations_of(), if whoever changes it asks for a refusal before. Private to
// this room.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "placement/problem.h"
#include "placement/topology.h"

namespace perdure::placement {

// Why a node cannot take something.
enum class Refusal : std::uint8_t { kNone, kCordoned, kMemory, kProcessors, kDisk, kTooFar, kTogether };
inline constexpr std::size_t kRefusals = static_cast<std::size_t>(Refusal::kTogether) + 1;
std::string_view words_of(Refusal refusal);  // behind "3" or "which is": "without the memory"

// Containers that are to be on one node.
struct Part {
  std::vector<std::size_t> members{};  // rising
  Demand demand{};
};

class Arrangement {
 public:
  explicit Arrangement(const PlacementProblem& problem);  // which outlives it

  const PlacementProblem& problem() const { return problem_; }
  const Topology& topology() const { return topology_; }
  const Places& places() const { return places_; }
  const PlaceContainer& container(std::size_t index) const { return problem_.containers[index]; }
  // Dependencies that ask for closeness and in which the container is one end.
  std::span<const std::size_t> dependencies_of(std::size_t container) const { return touching_[container]; }
  // Containers that the node owns or stands by for, in no order that means anything.
  std::span<const std::size_t> holders(std::size_t node) const { return loads_[node].holders; }
  const Score& score() const;
  std::size_t fullest_node() const;
  bool is_broken(std::size_t dependency) const;  // by some failure
  bool is_kept(std::size_t dependency) const;    // without a failure
  Part part_of(std::vector<std::size_t> members) const;  // rising

  void set_owner(std::size_t container, std::size_t node);    // it has none
  void add_standby(std::size_t container, std::size_t node);  // it has an owner
  void clear_standbys(std::size_t container);
  void clear(std::size_t container);  // without a place it stays so
  // What is there now is cleared before.
  void set(std::size_t container, const ContainerPlace& place);
  void set(const Places& places);

  // For refusals: what is there already, also on cordoned nodes; if not what the problem says.
  void regard_as_there(const Places& places) { there_ = places; }
  void regard_as_given() { there_.clear(); }
  // Of a part without a place. kTooFar: that is the only reason.
  Refusal owner_refusal(const Part& part, std::size_t node) const;
  double fullness_owning(const Part& part, std::size_t node) const;
  std::size_t moves_to(const Part& part, std::size_t node) const;
  // Of a part with one owner, whose members have equally many standbys: the next one.
  Refusal standby_refusal(const Part& part, std::size_t node) const;
  double fullness_standing_by(const Part& part, std::size_t node) const;
  std::size_t moves_standing_by(const Part& part, std::size_t node) const;
  // Dependencies that would not be kept if the owner's domain failed and the part went on at the node.
  std::size_t broken_at(const Part& part, std::size_t node) const;

 private:
  // Sums that cannot wrap around: they are never above a capacity.
  struct Load {
    std::uint64_t memory = 0;
    std::uint64_t disk = 0;
    std::uint64_t cpu = 0;                                          // of what it owns
    std::vector<std::pair<std::size_t, std::uint64_t>> brought{};  // processors, by the domain whose failure brings them
    std::uint64_t most_brought = 0;
    std::vector<std::size_t> holders{};
  };
  using Where = std::optional<std::size_t>;

  void hold(std::size_t container, std::size_t node);
  void release(std::size_t container, std::size_t node);
  void bring(std::size_t container, std::size_t node);
  void bring_no_more(std::size_t container, std::size_t node);
  void touch(std::size_t container, std::size_t node) const;
  void count(std::size_t container);    // what it adds to the score
  void uncount(std::size_t container);  // the same, before it changes
  Where after_failure(std::size_t container, std::size_t failed) const;
  std::size_t failures_breaking(const ContainerDependency& dependency) const;
  Refusal room_refusal(const Demand& more, std::uint64_t brought, std::size_t node) const;
  double fullness(std::size_t node, std::uint64_t memory, std::uint64_t cpu) const;
  std::uint64_t brought_to(const Part& part, std::size_t node) const;
  bool is_new(const Part& part, std::size_t node) const;
  bool meets_replica(const Part& part, std::size_t member, std::size_t node) const;
  bool is_kept_at(const Part& part, const ContainerDependency& dependency, std::size_t node) const;

  const PlacementProblem& problem_;
  const Topology topology_;
  const std::vector<std::size_t> urgencies_;
  std::vector<std::vector<std::size_t>> touching_;  // by container: dependencies
  std::vector<std::vector<std::size_t>> rivals_;    // by container: the other replicas
  Places places_;
  Places there_{};  // empty: as the problem says
  std::vector<Load> loads_;

  // The score is brought up to date when it is asked for.
  mutable Score score_{};
  mutable std::vector<std::size_t> broken_;          // by dependency: failures that break it
  mutable std::vector<std::size_t> stale_{};         // dependencies
  mutable std::vector<bool> is_stale_;               // the same
  mutable std::vector<std::size_t> stale_nodes_{};
  mutable std::vector<bool> is_stale_node_;
  mutable std::vector<double> fullest_;  // a tree: each is the greater of its two children, leaves are nodes
  std::size_t leaves_ = 1;
};

}  // namespace perdure::placement
