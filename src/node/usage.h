// How perdured is used, said once: its options with their defaults, its exit statuses, its files. The command line
// with its --help (options.h) and the manual page perdured(8), which cli/ writes, are both made from it, so that
// neither can say what the other does not. Pure.
//
// A library of its own, so that a writer of manuals needs no daemon.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "node/options.h"

namespace perdure::node {

inline constexpr std::string_view kPurpose = "keeps the containers of this host running through failures";

// Paragraphs; `code` marks what is typed.
std::span<const std::string_view> description();

struct UsageOption {
  enum class Kind { kValue, kFlag, kHelp, kVersion };
  Kind kind = Kind::kValue;
  std::string_view name{};    // "--run-dir"
  std::string_view letter{};  // "-h"; empty: none
  std::string_view value{};   // "DIR"; empty unless kValue
  std::string help{};         // sentences
  std::string fallback{};     // what holds without it; empty for kHelp and kVersion
  // Takes the value (of a flag: "") into the options. kInvalid: it is none; the options are as they were.
  std::function<Status(DaemonOptions& options, const std::string& value)> take{};
};
// In the order of the manual. What is for perdured's own use is not in it.
std::vector<UsageOption> option_table();

// "-h, --help", "--run-dir DIR"
std::string title_of(const UsageOption& option);
// Help and default, as --help and the manual both say it.
std::string text_of(const UsageOption& option);

// What a command line without options means on this host.
DaemonOptions default_options();

enum class DaemonExit : int {
  kDone = 0,
  kFailure = 1,
  kUsage = 64,    // EX_USAGE of sysexits.h
  kNotRoot = 77,  // EX_NOPERM
};
struct UsageExit {
  DaemonExit status;
  std::string_view meaning;
};
std::span<const UsageExit> exit_table();

struct UsageFile {
  std::string path;  // with the default directories; NAME stands for a container's
  std::string_view meaning;
};
std::vector<UsageFile> file_table();

// What --help prints: at most 80 columns wide, but for words that are longer.
std::string help_text();

}  // namespace perdure::node
