#include "sim/trace.h"

#include <format>
#include <utility>
#include <vector>

namespace perdure::sim {

void Trace::add(TrueTime when, std::optional<ContainerIndex> container, std::string text) {
  if (!on()) return;
  lines_.push_back({when, container, std::move(text)});
  if (tracing_ == Tracing::kRecent && lines_.size() > kRecentLines) lines_.pop_front();
}

std::string Trace::print(const Line& line) {
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(line.when.time_since_epoch()).count();
  const std::string about =
      line.container ? std::format("c{}", *line.container) : std::string("--");
  return std::format("+{}.{:06} {:>3} {}\n", micros / 1'000'000, micros % 1'000'000, about,
                     line.text);
}

std::string Trace::last(std::optional<ContainerIndex> container, std::size_t lines) const {
  std::vector<const Line*> chosen;
  for (auto line = lines_.rbegin(); line != lines_.rend() && chosen.size() < lines; ++line) {
    const bool about = !line->container || !container || line->container == container;
    if (about) chosen.push_back(&*line);
  }
  std::string text;
  for (auto line = chosen.rbegin(); line != chosen.rend(); ++line) text += print(**line);
  return text;
}

std::string Trace::all() const { return last(std::nullopt, lines_.size()); }

}  // namespace perdure::sim
