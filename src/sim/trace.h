// What happened, for people: "+12.345678 c0 n1 text". Kept only when asked for: a run that fails is
// played again with it.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "sim/names.h"
#include "sim/true_time.h"

namespace perdure::sim {

enum class Tracing { kOff, kRecent, kAll };

class Trace {
 public:
  explicit Trace(Tracing tracing) : tracing_(tracing) {}

  bool on() const { return tracing_ != Tracing::kOff; }
  // Absent container: of all of them.
  void add(TrueTime when, std::optional<ContainerIndex> container, std::string text);
  // The last `lines` lines about this container, or about none in particular.
  std::string last(std::optional<ContainerIndex> container, std::size_t lines) const;
  std::string all() const;

 private:
  struct Line {
    TrueTime when;
    std::optional<ContainerIndex> container;
    std::string text;
  };
  static std::string print(const Line& line);
  static constexpr std::size_t kRecentLines = 100'000;

  Tracing tracing_;
  std::deque<Line> lines_;
};

}  // namespace perdure::sim
