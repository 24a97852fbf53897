// perdure_sim: plays whole clusters from seeds and says which rule was broken, if one was.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <format>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "sim/simulation.h"

namespace perdure::sim {
namespace {

constexpr std::size_t kLinesShown = 120;
constexpr std::string_view kUsage =
    "usage: perdure_sim [--seed N | --seeds A-B] [--jobs N] [--trace] [--sabotage WORD]\n"
    "                   [--nodes N] [--containers N] [--moves | --no-moves]\n"
    "\n"
    "Plays the life of a whole cluster from each seed and checks that no rule of the protocol is\n"
    "broken. --trace prints everything that happens. --moves lets operators ask for planned\n"
    "moves, as in every other seed, --no-moves does not. --sabotage switches one guard of the protocol\n"
    "off: wait, absolute-deadline, term-check, swap, learner, resume, incarnation, former-charge.\n"
    "exit 0: no rule was broken; 1: one was; 2: the arguments make no sense\n";

struct Arguments {
  SimulationOptions options;
  std::uint64_t first = 1;
  std::uint64_t last = 1;
  unsigned jobs = 1;
  bool trace = false;
};

Result<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return fail(ErrorCode::kInvalid, std::format("'{}' is no number", text));
  }
  return value;
}

Status read_value(Arguments& arguments, std::string_view key, std::string_view value) {
  if (key == "--sabotage") {
    PERDURE_ASSIGN(arguments.options.sabotage, parse_sabotage(value));
    return {};
  }
  if (key == "--seeds") {
    const std::size_t dash = value.find('-');
    if (dash == std::string_view::npos) {
      return fail(ErrorCode::kInvalid, std::format("--seeds '{}': write FIRST-LAST", value));
    }
    PERDURE_ASSIGN(arguments.first, number(value.substr(0, dash)));
    PERDURE_ASSIGN(arguments.last, number(value.substr(dash + 1)));
    return {};
  }
  PERDURE_ASSIGN(const std::uint64_t count, number(value));
  if (key == "--seed") {
    arguments.first = arguments.last = count;
  } else if (key == "--jobs" && count > 0) {
    arguments.jobs = static_cast<unsigned>(std::min<std::uint64_t>(count, 256));
  } else if (key == "--nodes" && count >= 3 && count <= 100) {
    arguments.options.nodes = count;
  } else if (key == "--containers" && count >= 1 && count <= 1000) {
    arguments.options.containers = count;
  } else {
    return fail(ErrorCode::kInvalid,
                std::format("'{} {}': there is no such option, or its value is out of range (jobs "
                            "from 1, nodes 3 to 100, containers 1 to 1000)",
                            key, value));
  }
  return {};
}

Result<Arguments> read_arguments(const std::vector<std::string_view>& words) {
  Arguments arguments;
  for (std::size_t n = 0; n < words.size(); ++n) {
    if (words[n] == "--trace") {
      arguments.trace = true;
      continue;
    }
    if (words[n] == "--moves" || words[n] == "--no-moves") {
      arguments.options.moves = words[n] == "--moves" ? Moves::kSome : Moves::kNone;
      continue;
    }
    if (n + 1 == words.size()) {
      return fail(ErrorCode::kInvalid, std::format("'{}': no such option, or no value", words[n]));
    }
    PERDURE_TRY(read_value(arguments, words[n], words[n + 1]));
    ++n;
  }
  if (arguments.last < arguments.first) {
    return fail(ErrorCode::kInvalid, "--seeds: the last is before the first");
  }
  return arguments;
}

std::string replay_command(const SimulationOptions& options) {
  std::string text = std::format("perdure_sim --seed {}", options.seed);
  if (options.sabotage != Sabotage::kNone) {
    text += std::format(" --sabotage {}", to_string(options.sabotage));
  }
  if (options.nodes) text += std::format(" --nodes {}", *options.nodes);
  if (options.containers) text += std::format(" --containers {}", *options.containers);
  if (options.moves) text += options.moves == Moves::kSome ? " --moves" : " --no-moves";
  return text + " --trace";
}

// Played again, for the words.
void report(SimulationOptions options) {
  options.tracing = Tracing::kRecent;
  Simulation again(options);
  const auto violation = again.run();
  if (!violation) {
    std::printf("seed %llu: a rule was broken, but not when it was played again\n",
                static_cast<unsigned long long>(options.seed));
    return;
  }
  std::printf("%sseed %llu: container c%zu: BROKEN: %s: %s\nplay it again with: %s\n",
              again.trace(violation->container, kLinesShown).c_str(),
              static_cast<unsigned long long>(options.seed), violation->container,
              violation->rule.c_str(), violation->detail.c_str(), replay_command(options).c_str());
}

int play_traced(SimulationOptions options) {
  options.tracing = Tracing::kAll;
  Simulation simulation(options);
  const auto violation = simulation.run();
  std::fputs(simulation.trace().c_str(), stdout);
  if (!violation) return 0;
  std::printf("seed %llu: container c%zu: BROKEN: %s: %s\n",
              static_cast<unsigned long long>(options.seed), violation->container,
              violation->rule.c_str(), violation->detail.c_str());
  return 1;
}

int play_all(const Arguments& arguments) {
  std::atomic<std::uint64_t> next = arguments.first;
  std::mutex guard;
  std::vector<std::uint64_t> broken;
  Tally sum;
  const auto work = [&] {
    for (;;) {
      SimulationOptions options = arguments.options;
      options.seed = next++;
      if (options.seed > arguments.last) return;
      Simulation simulation(options);
      const bool good = !simulation.run();
      const std::lock_guard lock(guard);
      sum += simulation.tally();
      if (!good) broken.push_back(options.seed);
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned n = 1; n < arguments.jobs; ++n) threads.emplace_back(work);
  work();
  threads.clear();
  std::ranges::sort(broken);
  if (!broken.empty()) {
    SimulationOptions options = arguments.options;
    options.seed = broken.front();
    report(options);
    std::string seeds;
    for (const std::uint64_t seed : broken) seeds += std::format(" {}", seed);
    std::printf("seeds that break a rule:%s\n", seeds.c_str());
  }
  std::printf("%s\n", std::format("{} seeds, {} broken; {} events, {} swaps, {} lost answers, {} "
                                  "commits, {} takeovers, {} recoveries, {} cold starts, {} "
                                  "crashes, {} takers lost, {} words, {} pauses, {} cuts, {} moves, {} failovers",
                                  arguments.last - arguments.first + 1, broken.size(), sum.events,
                                  sum.swaps, sum.lost_answers, sum.commits, sum.takeovers,
                                  sum.recoveries, sum.cold_starts, sum.crashes, sum.takers_lost, sum.words, sum.pauses,
                                  sum.cuts, sum.moves, sum.failovers)
                          .c_str());
  return broken.empty() ? 0 : 1;
}

int run(const std::vector<std::string_view>& words) {
  if (std::ranges::contains(words, "--help")) {
    std::fputs(kUsage.data(), stdout);
    return 0;
  }
  const auto arguments = read_arguments(words);
  if (!arguments) {
    std::fprintf(stderr, "perdure_sim: %s\n%s", arguments.error().message().c_str(),
                 kUsage.data());
    return 2;
  }
  if (!arguments->trace) return play_all(*arguments);
  SimulationOptions options = arguments->options;
  options.seed = arguments->first;
  return play_traced(options);
}

}  // namespace
}  // namespace perdure::sim

int main(int argc, char** argv) {
  return perdure::sim::run(std::vector<std::string_view>(argv + 1, argv + argc));
}
