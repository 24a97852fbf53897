#include "base/ids.h"

#include <algorithm>
#include <charconv>
#include <format>

namespace perdure {
namespace {

constexpr std::size_t kMaxNameLength = 63;

bool is_label_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

Status check_label(std::string_view text, std::string_view of_what) {
  const bool good = !text.empty() && text.size() <= kMaxNameLength &&
                    std::ranges::all_of(text, is_label_character) && text.front() != '-' &&
                    text.back() != '-';
  if (good) return {};
  return fail(ErrorCode::kInvalid,
              std::format("{} name '{}': use 1 to {} characters of a-z, 0-9 and '-', beginning and "
                          "ending with a letter or digit",
                          of_what, text.substr(0, 80), kMaxNameLength));
}

bool parse_number(std::string_view text, int radix, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, radix);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

}  // namespace

Result<ContainerName> ContainerName::parse(std::string_view text) {
  PERDURE_TRY(check_label(text, "container"));
  return ContainerName(std::string(text));
}

Result<NodeName> NodeName::parse(std::string_view text) {
  PERDURE_TRY(check_label(text, "node"));
  return NodeName(std::string(text));
}

std::string to_string(const Generation& generation) {
  return std::format("{}.{:x}.{}", generation.term.value, generation.incarnation.value,
                     generation.number);
}

Result<Generation> parse_generation(std::string_view text) {
  Generation generation;
  const auto first = text.find('.');
  const auto second = first == std::string_view::npos ? first : text.find('.', first + 1);
  if (second == std::string_view::npos ||
      !parse_number(text.substr(0, first), 10, generation.term.value) ||
      !parse_number(text.substr(first + 1, second - first - 1), 16,
                    generation.incarnation.value) ||
      !parse_number(text.substr(second + 1), 10, generation.number)) {
    return fail(ErrorCode::kInvalid,
                std::format("generation '{}': expected TERM.INCARNATION.NUMBER as printed by "
                            "'perdure generations'",
                            text.substr(0, 80)));
  }
  return generation;
}

}  // namespace perdure
