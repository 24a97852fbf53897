// The tables of bad documents in this directory: a line "== TITLE", the document, a line "--", the expected messages
// without the file's name. "==+ TITLE": the document stands behind the table's good beginning.
#pragma once

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gtest/gtest.h"

namespace perdure::model::testing {

struct RefusalCase {
  std::string title{};
  std::string document{};
  std::string expected{};
};

inline std::vector<RefusalCase> read_refusal_cases(const std::string& path, std::string_view good_start) {
  std::ifstream in(path);
  std::vector<RefusalCase> cases;
  bool in_document = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("==+ ") || line.starts_with("== ")) {
      cases.push_back({line, std::string(line[2] == '+' ? good_start : std::string_view()), ""});
      in_document = true;
    } else if (line == "--") {
      in_document = false;
    } else if (in_document) {
      cases.back().document += line + "\n";
    } else if (!line.empty() && !line.starts_with('#')) {
      cases.back().expected += (cases.back().expected.empty() ? "" : "\n") + line;
    }
  }
  return cases;
}

// The messages without "FILE:"; "accepted" if there are none.
template <typename T>
std::string refusal_of(const Result<T>& read, std::string_view file) {
  if (read) return "accepted";
  EXPECT_EQ(read.error().code(), ErrorCode::kInvalid);
  std::istringstream in(read.error().message());
  std::string messages;
  for (std::string line; std::getline(in, line);) {
    EXPECT_TRUE(line.starts_with(std::string(file) + ":")) << line;
    messages += (messages.empty() ? "" : "\n") + line.substr(file.size() + 1);
  }
  return messages;
}

}  // namespace perdure::model::testing
