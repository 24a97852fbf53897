// Values as Compose writes them, and as the keys of docs/application.md do. Private to this room. All: kInvalid says what to
// write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/units.h"

namespace perdure::model::compose {

// As a POSIX shell splits a line, but nothing is expanded: blanks, quotes, backslashes.
Result<std::vector<std::string>> split_words(std::string_view text);
// "1m30s", "1.5h", "200ms"; a bare number only if it is 0.
Result<Duration> parse_duration(std::string_view text);
// "512m", "1gb", "2048"; units of 1024.
Result<Bytes> parse_bytes(std::string_view text);
// "true" or "false".
Result<bool> parse_flag(std::string_view text);

struct Port {
  std::uint16_t target = 0;
  bool udp = false;
  std::string published{};  // as written; empty: any
  std::string host_ip{};
};
// "8080:80", "127.0.0.1:8080:80/udp", "3000-3005"; a range gives each of its ports. At most 64.
Result<std::vector<Port>> parse_ports(std::string_view text);

}  // namespace perdure::model::compose
