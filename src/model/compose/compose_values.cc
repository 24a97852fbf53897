#include "model/compose/compose_values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <format>
#include <optional>
#include <utility>

#include "model/text.h"
#include "model/value_codec.h"

namespace perdure::model::compose {
namespace {

constexpr unsigned kMaxPortsOfRange = 64;

std::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(ErrorCode::kInvalid, std::format("{} {}", quote(text), why));
}

struct Unit {
  std::string_view name;
  double factor;
};
// Longer ones before those that they begin with.
constexpr std::array<Unit, 7> kDurations = {
    {{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"h", 3.6e12}, {"m", 6e10}, {"s", 1e9}}};
constexpr std::array<Unit, 13> kSizes = {{{"b", 1},
                                          {"k", 1024},
                                          {"kb", 1024},
                                          {"kib", 1024},
                                          {"m", 1048576},
                                          {"mb", 1048576},
                                          {"mib", 1048576},
                                          {"g", 1073741824},
                                          {"gb", 1073741824},
                                          {"gib", 1073741824},
                                          {"t", 1099511627776},
                                          {"tb", 1099511627776},
                                          {"tib", 1099511627776}}};
constexpr double kMost = 9e15;  // exact in a double

// The number at the beginning, which is taken away.
std::optional<double> take_number(std::string_view& text) {
  const std::size_t length = std::min(text.find_first_not_of("0123456789."), text.size());
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + length, value, std::chars_format::fixed);
  if (length == 0 || error != std::errc() || end != text.data() + length) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

Result<std::pair<std::uint16_t, std::uint16_t>> parse_port_range(std::string_view all, std::string_view text) {
  const auto dash = std::min(text.find('-'), text.size());
  const auto first = parse_number(text.substr(0, dash), 1, 65535);
  const auto last = dash == text.size() ? first : parse_number(text.substr(dash + 1), 1, 65535);
  if (!first || !last || *last < *first || *last - *first >= kMaxPortsOfRange) {
    return refuse(all, std::format("is no port; write [[ADDRESS:]PUBLISHED:]PORT[/udp] with ports of 1 to 65535, at most {} in a range", kMaxPortsOfRange));
  }
  return std::pair(static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last));
}

}  // namespace

Result<std::vector<std::string>> split_words(std::string_view text) {
  std::vector<std::string> words;
  bool open = false;
  char mark = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (mark == 0 && (c == ' ' || c == '\t' || c == '\n' || c == '\r')) {
      open = false;
      continue;
    }
    if (!open) words.emplace_back();
    open = true;
    if (mark == 0 && (c == '\'' || c == '"')) {
      mark = c;
    } else if (c == mark) {
      mark = 0;
    } else if (c == '\\' && mark != '\'') {
      if (++at == text.size()) return refuse(text, "ends with a backslash; remove it or double it");
      const bool kept = mark == '"' && text[at] != '"' && text[at] != '\\' && text[at] != '$' && text[at] != '`';
      if (kept) words.back() += '\\';
      words.back() += text[at];
    } else {
      words.back() += c;
    }
  }
  if (mark != 0) return refuse(text, "has quotes that are not closed; close them, or write a list");
  return words;
}

Result<Duration> parse_duration(std::string_view text) {
  std::string_view rest = text;
  double total = 0;
  if (text == "0") return Duration{};
  do {
    const auto number = take_number(rest);
    const Unit* unit = nullptr;
    for (const Unit& it : kDurations) {
      if (unit == nullptr && rest.starts_with(it.name)) unit = &it;
    }
    if (!number || unit == nullptr) return refuse(text, "is no duration; write 1m30s or 500ms, for instance");
    rest.remove_prefix(unit->name.size());
    total += *number * unit->factor;
    if (total > kMost) return refuse(text, "is too long; give at most 100 days");
  } while (!rest.empty());
  return Duration(std::llround(total));
}

Result<Bytes> parse_bytes(std::string_view text) {
  std::string_view rest = text;
  const auto number = take_number(rest);
  std::string unit_name;
  for (const char c : rest) unit_name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  double factor = unit_name.empty() ? 1 : 0;
  for (const Unit& unit : kSizes) {
    if (unit.name == unit_name) factor = unit.factor;
  }
  if (!number || factor == 0) return refuse(text, "is no size; write 512m or 2gb, for instance");
  if (*number * factor > kMost) return refuse(text, "is too large");
  return Bytes{static_cast<std::uint64_t>(*number * factor)};
}

Result<bool> parse_flag(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return refuse(text, "is not understood; write true or false");
}

Result<std::vector<Port>> parse_ports(std::string_view text) {
  Port port;
  std::string_view rest = text;
  const auto slash = rest.rfind('/');
  if (slash != std::string_view::npos) {
    const std::string_view protocol = rest.substr(slash + 1);
    if (protocol != "tcp" && protocol != "udp") return refuse(text, "has a protocol that is neither tcp nor udp");
    port.udp = protocol == "udp";
    rest = rest.substr(0, slash);
  }
  const auto colon = rest.rfind(':');
  PERDURE_ASSIGN(const auto range, parse_port_range(text, colon == std::string_view::npos ? rest : rest.substr(colon + 1)));
  if (colon != std::string_view::npos) {
    const std::string_view host = rest.substr(0, colon);
    const auto address = host.rfind(':');
    if (address != std::string_view::npos) port.host_ip = host.substr(0, address);
    port.published = address == std::string_view::npos ? host : host.substr(address + 1);
    if (!port.published.empty()) PERDURE_TRY(parse_port_range(text, port.published));
  }
  std::vector<Port> ports;
  for (unsigned target = range.first; target <= range.second; ++target) {
    port.target = static_cast<std::uint16_t>(target);
    ports.push_back(port);
  }
  return ports;
}

}  // namespace perdure::model::compose
