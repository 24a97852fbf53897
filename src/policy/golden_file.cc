#include "policy/golden_file.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "gtest/gtest.h"

namespace perdure::policy {
namespace {

struct Case {
  int line = 0;
  std::vector<std::string> comments;
  std::vector<std::string> input;
  std::string expected;
};

std::vector<Case> read_cases(const std::string& path) {
  std::ifstream file(path);
  std::vector<Case> cases;
  Case current;
  bool in_output = false;
  int number = 0;
  const auto finish = [&] {
    if (!current.input.empty() || !current.comments.empty()) cases.push_back(std::move(current));
    current = {};
    in_output = false;
  };
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.empty()) {
      finish();
    } else if (!in_output && line.starts_with('#')) {
      current.comments.push_back(line);
    } else if (!in_output && line == "----") {
      in_output = true;
    } else if (in_output) {
      current.expected += line + "\n";
    } else {
      if (current.input.empty()) current.line = number;
      current.input.push_back(line);
    }
  }
  finish();
  return cases;
}

void write_cases(const std::string& path, const std::vector<Case>& cases) {
  std::ofstream file(path);
  for (bool first = true; const Case& c : cases) {
    if (!std::exchange(first, false)) file << "\n";
    for (const auto& line : c.comments) file << line << "\n";
    for (const auto& line : c.input) file << line << "\n";
    if (!c.input.empty()) file << "----\n" << c.expected;
  }
}

}  // namespace

void run_golden_file(const std::string& path,
                     const std::function<std::string(const std::vector<std::string>&)>& answer) {
  std::vector<Case> cases = read_cases(path);
  ASSERT_FALSE(cases.empty()) << path << " is missing or empty";
  const bool rewrite = std::getenv("PERDURE_REWRITE_GOLDEN") != nullptr;
  for (Case& c : cases) {
    if (c.input.empty()) continue;
    const std::string actual = answer(c.input);
    if (rewrite) {
      c.expected = actual;
    } else {
      EXPECT_EQ(c.expected, actual) << path << ":" << c.line << ": " << c.input.front();
    }
  }
  if (rewrite) write_cases(path, cases);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

Generation generation(std::uint64_t number) {
  return {Term{1}, Incarnation{1}, number};
}

std::vector<GenerationInfo> parse_generations(const std::string& text) {
  std::vector<GenerationInfo> generations;
  for (const std::string& part : split(text, ',')) {
    std::size_t used = 0;
    GenerationInfo info{.id = generation(std::stoull(part, &used)),
                        .parent = std::nullopt,
                        .state = CommitState::kCommitted};
    for (; used < part.size(); ++used) {
      switch (part[used]) {
        case 'p':
          info.state = CommitState::kProvisional;
          break;
        case 's':
          info.mark = Mark::kSuspect;
          break;
        case 'c':
          info.mark = Mark::kCorrupt;
          break;
        case 'a':
          info.mark = Mark::kAbandoned;
          break;
        case 'd':
          info.durable = true;
          break;
        case '@':
          info.id.term.value = std::stoull(part.substr(used + 1));
          used = part.size();
          break;
        case '<':
          info.parent = generation(std::stoull(part.substr(used + 1)));
          used = part.size();
          break;
        default:
          ADD_FAILURE() << "what is '" << part << "'?";
          used = part.size();
      }
    }
    generations.push_back(info);
  }
  return generations;
}

}  // namespace perdure::policy
