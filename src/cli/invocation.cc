#include "cli/invocation.h"

#include <charconv>
#include <format>
#include <ranges>

#include "base/assert.h"
#include "base/ids.h"
#include "base/units.h"
#include "policy/lease_timing.h"

namespace perdure::cli {
namespace {

constexpr std::uint32_t kMaxCount = 1'000'000;

std::optional<int> digits(std::string_view text, std::size_t at, std::size_t count) {
  int value = 0;
  if (at + count > text.size()) return std::nullopt;
  const char* end = text.data() + at + count;
  const auto [stop, error] = std::from_chars(text.data() + at, end, value);
  if (error != std::errc{} || stop != end || text[at] == '-') return std::nullopt;
  return value;
}

// RFC 3339 without fraction in UTC ("2026-01-31T12:00:00Z", or a space for the T).
std::optional<std::int64_t> parse_time_unix_ms(std::string_view text) {
  if (text.size() != 20 || text[4] != '-' || text[7] != '-' ||
      (text[10] != 'T' && text[10] != ' ') || text[13] != ':' || text[16] != ':' ||
      text[19] != 'Z') {
    return std::nullopt;
  }
  const auto year = digits(text, 0, 4), month = digits(text, 5, 2), day = digits(text, 8, 2);
  const auto hour = digits(text, 11, 2), minute = digits(text, 14, 2), second = digits(text, 17, 2);
  if (!year || !month || !day || !hour || !minute || !second || *hour > 23 || *minute > 59 ||
      *second > 60) {
    return std::nullopt;
  }
  using namespace std::chrono;
  const year_month_day date{std::chrono::year(*year),
                            std::chrono::month(static_cast<unsigned>(*month)),
                            std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  const auto time = sys_days(date) + hours(*hour) + minutes(*minute) + seconds(*second);
  return duration_cast<milliseconds>(time.time_since_epoch()).count();
}

std::optional<std::uint32_t> parse_count(std::string_view text) {
  std::uint32_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || stop != text.data() + text.size() ||
      value > kMaxCount)
    return std::nullopt;
  return value;
}

std::string check_duration(std::string_view text) {
  const auto parsed = parse_duration(text);
  if (!parsed) return parsed.error().message();
  return *parsed > Duration::zero() ? "" : std::format("'{}' is no time at all", text);
}

// Which characters a label may have is perdured's to say.
std::string check_label_form(std::string_view text, ValueKind kind) {
  const std::size_t equals = text.find('=');
  if (equals != std::string_view::npos && equals > 0 && equals + 1 < text.size()) return "";
  if (kind == ValueKind::kLabel) return std::format("'{}' is not of the form KEY=VALUE", text);
  if (equals == std::string_view::npos && text.size() > 1 && text.ends_with('-')) return "";
  return std::format("'{}' is neither of the form KEY=VALUE nor KEY-", text);
}

// `words` are separated by blanks.
std::string check_word(std::string_view words, std::string_view text) {
  std::string known;
  for (const auto part : std::views::split(words, ' ')) {
    const std::string_view word(part.begin(), part.end());
    if (word == text) return "";
    known += (known.empty() ? "" : ", ") + std::string(word);
  }
  return std::format("'{}' is none of {}", text, known);
}

}  // namespace

std::string check_value(ValueKind kind, std::string_view text) {
  switch (kind) {
    case ValueKind::kFlag:
    case ValueKind::kLabVerb:
    case ValueKind::kText:
      return "";
    case ValueKind::kFile:
      return text.empty() ? "a path must not be empty" : "";
    case ValueKind::kContainer: {
      const auto name = ContainerName::parse(text);
      return name ? "" : name.error().message();
    }
    case ValueKind::kGeneration: {
      const auto generation = parse_generation(text);
      return generation ? "" : generation.error().message();
    }
    case ValueKind::kDuration:
      return check_duration(text);
    case ValueKind::kCount:
      return parse_count(text) ? ""
                               : std::format("'{}' is no number from 0 to {}", text, kMaxCount);
    case ValueKind::kMoment:
      if (parse_duration(text) || parse_time_unix_ms(text)) return "";
      return std::format(
          "'{}' is neither a duration such as 10min nor a time such as 2026-01-31T12:00:00Z", text);
    case ValueKind::kShell:
      return text == "bash" || text == "zsh" || text == "fish"
                 ? ""
                 : std::format("'{}' is not bash, zsh or fish", text);
    case ValueKind::kCommand:
      return find_command(text) != nullptr || find_group(text) != nullptr
                 ? ""
                 : std::format("'{}' is no command", text);
    case ValueKind::kNode: {
      const auto name = NodeName::parse(text);
      return name ? "" : name.error().message();
    }
    case ValueKind::kLabel:
    case ValueKind::kLabelChange:
      return check_label_form(text, kind);
    case ValueKind::kModelForm:
      return check_word(kModelForms, text);
    case ValueKind::kPlanFormat:
      return check_word(kPlanFormats, text);
    case ValueKind::kWrittenForm:
      return check_word(kWrittenForms, text);
    case ValueKind::kTiming: {
      const auto timing = policy::lease::parse_timing(text);
      return timing ? "" : timing.error().message();
    }
  }
  return "";
}

std::string Invocation::text(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() || found->second.empty() ? std::string() : found->second.front();
}

std::vector<std::string> Invocation::texts(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

std::optional<Duration> Invocation::duration(std::string_view name) const {
  if (!has(name)) return std::nullopt;
  const auto parsed = parse_duration(text(name));
  PERDURE_ASSERT(parsed.has_value());
  return *parsed;
}

std::optional<std::uint32_t> Invocation::count(std::string_view name) const {
  if (!has(name)) return std::nullopt;
  const auto parsed = parse_count(text(name));
  PERDURE_ASSERT(parsed.has_value());
  return parsed;
}

std::optional<std::int64_t> Invocation::moment_unix_ms(std::string_view name, WallTime now) const {
  if (!has(name)) return std::nullopt;
  const std::string value = text(name);
  if (const auto time = parse_time_unix_ms(value)) return time;
  const auto ago = parse_duration(value);
  PERDURE_ASSERT(ago.has_value());
  using std::chrono::duration_cast, std::chrono::milliseconds;
  return duration_cast<milliseconds>(now.time_since_epoch()).count() -
         duration_cast<milliseconds>(*ago).count();
}

}  // namespace perdure::cli
