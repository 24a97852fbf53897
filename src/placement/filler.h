// Gives places to what has none: one after the other, each where it is best at that moment. Private to this room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "placement/arrangement.h"
#include "placement/bundles.h"

namespace perdure::placement {

// Which of the nodes that can take something is taken.
struct Taste {
  enum class Fit : std::uint8_t { kEmptiest, kFullest, kAny };
  Fit fit = Fit::kEmptiest;
  bool minds_moves = true;         // one to which nothing has to be moved before others
  std::mt19937* random = nullptr;  // not of kAny: now and then a node is overlooked
};

class Filler {
 public:
  Filler(Arrangement& arrangement, const Bundles& bundles);

  // What runs stays where it is, if it may; so do its standbys.
  void keep();
  // All that have no place, or too few standbys, in the order of the bundles: first the owners.
  void fill();

  // Of one bundle, rising, without places. Together, if possible, else each by itself.
  void place_owners(const std::vector<std::size_t>& members, const Taste& taste);
  // Of one bundle, rising: as many as are missing, as far as they can be had.
  void add_standbys(const std::vector<std::size_t>& members, const Taste& taste);

  std::uint64_t steps() const { return steps_; }  // nodes that were looked at so far

 private:
  void keep_owners();
  void keep_standbys(std::size_t container);
  bool place_owner(const Part& part, const Taste& taste);
  bool add_standby(const Part& part, const Taste& taste);
  void add_standbys_of_one_owner(const std::vector<std::size_t>& members, const Taste& taste);

  Arrangement& arrangement_;
  const Bundles& bundles_;
  std::uint64_t steps_ = 0;
};

}  // namespace perdure::placement
