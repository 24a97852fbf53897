// Draws that are the same on every machine: SplitMix64 (Steele, Lea, Flood: "Fast splittable
// pseudorandom number generators", OOPSLA 2014).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace perdure::sim {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
    return mixed ^ (mixed >> 31U);
  }
  std::size_t below(std::size_t bound) { return next() % bound; }
  bool permille(unsigned chance) { return below(1000) < chance; }
  bool percent(unsigned chance) { return below(100) < chance; }
  Duration between(Duration least, Duration most) {
    if (least >= most) return least;
    return least + Duration(static_cast<Duration::rep>(
                       next() % static_cast<std::uint64_t>((most - least).count())));
  }
  int within(int least, int most) {
    return least + static_cast<int>(below(static_cast<std::size_t>(most - least + 1)));
  }
  template <typename List>
  auto& pick(List& list) {
    return list[below(list.size())];
  }

 private:
  std::uint64_t state_;
};

}  // namespace perdure::sim
