// Makes an arrangement better, step by step: a few containers give up their places and are given new ones; what is not better is
// undone (large neighbourhood search: P. Shaw, "Using Constraint Programming and Local Search Methods to Solve Vehicle Routing
// Problems", CP 1998). Deterministic, bounded by steps. Private to this room.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <tuple>
#include <vector>

#include "placement/arrangement.h"
#include "placement/bundles.h"
#include "placement/filler.h"

namespace perdure::placement {

// What a container may give up.
enum class Freedom : std::uint8_t { kNone, kStandbys, kAll };

class Improver {
 public:
  // Nodes are looked at `most_steps` times at most by each part, and a little more. `freedom`: one for each container. All outlive it.
  Improver(Arrangement& arrangement, const Bundles& bundles, const std::vector<Freedom>& freedom, std::uint64_t most_steps);

  // Ends where mend() finds nothing: then it finds nothing either for who begins with the places found here.
  void run();

 private:
  enum class Aim : std::uint8_t { kMend, kTidy };
  struct Saved {
    std::size_t container = 0;
    ContainerPlace place{};
  };

  // What moves cannot pay for: containers without a place, missing standbys, dependencies that a failure breaks. It does not ask
  // where anything was, so that the same places always lead to the same end. Whether it is better now.
  bool mend(std::size_t way);
  // What is left: moves and balance. Whether anything is different now.
  bool tidy(std::size_t way);  // each way draws other numbers
  bool is_tidy() const;  // it can be no better, as long as nothing is mended

  bool is_of_few() const;
  void begin_with(std::size_t way);
  void find_limits();
  std::vector<std::size_t> lacking() const;  // containers
  std::size_t seed_of_tidying();
  std::optional<std::size_t> home_left_by(std::size_t container);
  void step(std::size_t seed, Aim aim);
  void give_up(std::size_t seed, Aim aim);
  void give_up_bundle(std::size_t container);
  void give_up_group(std::size_t container);
  void give_up_standbys(std::size_t container);
  void give_up_what_lacks();
  void give_up_something_on(std::size_t node);
  void give_up_something_near(std::size_t container);
  bool save(std::size_t container);
  std::vector<std::size_t> order_of_return(std::size_t seed, Aim aim);
  void place_again(const std::vector<std::size_t>& bundles, Aim aim);
  bool breaks_a_rule() const;
  void undo();
  std::size_t draw(std::size_t below) { return random_() % below; }

  Arrangement& arrangement_;
  const Bundles& bundles_;
  const std::vector<Freedom>& freedom_;
  const std::uint64_t most_steps_;
  Filler filler_;
  std::mt19937 random_{};
  std::vector<std::size_t> most_standbys_{};  // by container: as many as nodes that never fail together could hold
  std::vector<bool> has_any_node_{};          // by container: there is one that could take it, if nothing else were there
  std::vector<Saved> saved_{};                // in the order in which they were given up
  std::vector<std::uint8_t> is_saved_;        // by container
};

}  // namespace perdure::placement
