#include "placement/testing/exact.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "placement/testing/exact_program.h"

namespace perdure::placement::testing {
namespace {

constexpr double kTolerance = 1e-6;  // of CBC

// A directory of its own, removed at the end.
class Scratch {
 public:
  Scratch() {
    std::string path = (std::filesystem::temp_directory_path() / "perdure-cbc-XXXXXX").string();
    if (::mkdtemp(path.data()) != nullptr) path_ = path;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_{};
};

using Values = std::map<std::string, double>;

// "Optimal - objective value 3", then "  17 x_0_1  1  0" for each variable that is not 0.
struct Solution {
  bool finished = false;
  std::optional<Values> values{};  // nullopt: there is none, if it has finished
};

Result<Solution> read_solution(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  // Before it has any, it writes none when its time is over.
  if (!std::getline(file, line) || line.starts_with("Stopped")) return Solution{};
  if (line.starts_with("Infeasible") || line.starts_with("Integer infeasible")) return Solution{.finished = true};
  if (!line.starts_with("Optimal")) return fail(ErrorCode::kIo, std::format("cbc says '{}'", line));
  Values values;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string index;
    std::string name;
    double value = 0;
    if (words >> index >> name >> value) values[name] = value;
  }
  return Solution{.finished = true, .values = std::move(values)};
}

std::string last_line_of(const std::string& path) {
  std::ifstream file(path);
  std::string last;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) last = line;
  }
  return last;
}

Result<Solution> run(const std::string& program, double seconds) {
  const Scratch scratch;
  const std::string model = scratch.file("model.lp");
  const std::string solution = scratch.file("solution.txt");
  std::ofstream(model) << program;
  const std::string command = std::format("cbc '{}' seconds {:.1f} ratioGap 0 allowableGap 0 solve solution '{}' >'{}' 2>&1", model, seconds,
                                          solution, scratch.file("log.txt"));
  if (std::system(command.c_str()) != 0) return fail(ErrorCode::kIo, std::format("cbc fails: {}", last_line_of(scratch.file("log.txt"))));
  return read_solution(solution);
}

// Whether a solution is what it says.
std::string flaw_of(const PlacementProblem& problem, const Places& places, std::size_t level, double value) {
  for (const std::string& violation : violations_of(problem, places)) return "it breaks a rule: " + violation;
  const double score = levels_of(score_of(problem, places)).at(level);
  if (score <= value + 1e-4) return "";
  return std::format("its '{}' is {}, it says {}", kLevelNames.at(level), score, value);
}

double value_of(const Objective& objective, const Values& values) {
  double sum = objective.constant;
  for (const auto& [factor, name] : objective.terms) {
    if (const auto at = values.find(name); at != values.end()) sum += factor * at->second;
  }
  return sum;
}

Result<std::string> flaw_with(const ExactProgram& program, const ExactQuestion& question, const Levels& found) {
  PERDURE_ASSIGN(const Solution solution, run(program.text_with(question.found), static_cast<double>(question.time_for_all.count())));
  if (!solution.values) return "it does not allow what was found";
  for (std::size_t level = 0; level < kLevels; ++level) {
    const double value = value_of(program.objective(level), *solution.values);
    // A failure that breaks nothing may be said to: nothing but its objective keeps it from that.
    const bool same = level == 3 ? value >= found.at(level) - 1e-4 : std::abs(value - found.at(level)) < 1e-4;
    if (!same) return std::format("'{}' of what was found is {} to it, not {}", kLevelNames.at(level), value, found.at(level));
  }
  return "";
}

// What has to be reached to be better by more than the gap.
double aim_at(std::size_t level, double found, double gap) {
  if (level + 1 == kLevels) return found / (1 + gap) - kTolerance;
  return std::ceil(found / (1 + gap) - kTolerance) - 1;
}

double gap_of(double found, double best) { return best == 0 ? found : (found - best) / best; }

}  // namespace

Levels levels_of(const Score& score) {
  return {static_cast<double>(score.unplaced),         static_cast<double>(score.urgency_unplaced), static_cast<double>(score.missing_standbys),
          static_cast<double>(score.broken_by_failures), static_cast<double>(score.moves),           score.imbalance};
}

bool has_exact_solver() { return std::system("command -v cbc >/dev/null 2>&1") == 0; }

Result<Exact> solve_exactly(const ExactQuestion& question) {
  const auto end = std::chrono::steady_clock::now() + question.time_for_all;
  const ExactProgram program(question.problem);
  const Levels found = levels_of(score_of(question.problem, question.found));
  Exact exact{.best = found};
  if (!program.has_choices()) {
    exact.finished = true;
    return exact;
  }
  PERDURE_ASSIGN(exact.flaw, flaw_with(program, question, found));
  for (std::size_t level = 0; level < kLevels && exact.flaw.empty(); ++level) {
    const double aim = aim_at(level, found.at(level), question.accepted_gap);
    if (aim < 0) continue;
    const double left = std::chrono::duration<double>(end - std::chrono::steady_clock::now()).count();
    if (left <= 0) return exact;
    PERDURE_ASSIGN(const Solution solution, run(program.text(level, aim, found), left));
    if (!solution.finished) return exact;
    if (!solution.values) continue;
    const auto value = [&](const std::string& name) {
      const auto at = solution.values->find(name);
      return at == solution.values->end() ? 0.0 : at->second;
    };
    exact.best.at(level) = value_of(program.objective(level), *solution.values);
    exact.gap = gap_of(found.at(level), exact.best.at(level));
    exact.flaw = flaw_of(question.problem, program.places_of(value), level, exact.best.at(level));
    break;
  }
  exact.finished = true;
  return exact;
}

}  // namespace perdure::placement::testing
