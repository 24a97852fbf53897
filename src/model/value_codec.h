// How one value is written in a spec: text to value, value to text, and the words of the manual for
// its type and range. Private to this room.
#pragma once

#include <cstdint>
#include <format>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "model/address.h"
#include "model/spec.h"
#include "model/spec_keys.h"

namespace perdure::model {

template <typename T>
struct Codec {
  std::string type;   // for the manual
  std::string range;  // for the manual
  // The error's message names the text and says what to write.
  std::function<Result<T>(std::string_view)> parse;
  std::function<std::string(const T&)> print;
  bool host_path = false;  // a path of the host: relative ones are resolved before parse()
  bool plain = false;      // what is printed needs no quotes in any YAML
  // Whether line breaks and other control characters may occur (NUL never).
  bool free_text = false;
  std::size_t max_bytes = 4096;
  ValueShape shape{};
};

// Exact, in the largest unit that divides it: "1500ms", "2min", "64MiB".
std::string spell(Duration duration);
std::string spell(Bytes bytes);
std::string spell(MilliCores cores);

Codec<Duration> duration_codec(Duration min, Duration max);
Codec<Bytes> bytes_codec(Bytes min, Bytes max);
Codec<MilliCores> cores_codec(MilliCores min, MilliCores max);
Codec<unsigned> percent_codec(unsigned min, unsigned max);

// Decimal digits only; leading zeros, signs and other bases are refused.
Result<std::uint64_t> parse_number(std::string_view text, std::uint64_t min, std::uint64_t max);

template <typename T>
Codec<T> number_codec(T min, T max) {
  return {.type = "number",
          .range = std::format("{} to {}", min, max),
          .parse = [=](std::string_view text) -> Result<T> {
            PERDURE_ASSIGN(const std::uint64_t number, parse_number(text, min, max));
            return static_cast<T>(number);
          },
          .print = [](const T& number) { return std::to_string(number); },
          .plain = true,
          .shape = {.kind = ValueShape::Kind::kNumber, .words = {}, .min = min, .max = max}};
}

template <typename T>
struct Choice {
  std::string word;
  T value{};
  std::string refusal{};  // not empty: known, but refused with this reason and remedy
};

// kInvalid names the words that are understood.
Result<std::size_t> find_choice(std::string_view text, const std::vector<std::string>& words);

template <typename T>
Codec<T> choice_codec(std::vector<Choice<T>> choices) {
  std::vector<std::string> words;
  std::string range;
  ValueShape shape{.kind = ValueShape::Kind::kWord};
  for (const Choice<T>& choice : choices) {
    if (choice.refusal.empty()) range += (range.empty() ? "`" : ", `") + choice.word + "`";
    if (choice.refusal.empty()) shape.words.push_back(choice.word);
    words.push_back(choice.word);
  }
  return {.type = "word",
          .range = range,
          .parse = [choices, words](std::string_view text) -> Result<T> {
            PERDURE_ASSIGN(const std::size_t index, find_choice(text, words));
            const Choice<T>& choice = choices[index];
            if (!choice.refusal.empty()) return fail(ErrorCode::kUnsupported, choice.refusal);
            return choice.value;
          },
          .print =
              [choices](const T& value) {
                for (const Choice<T>& choice : choices) {
                  if (choice.refusal.empty() && choice.value == value) return choice.word;
                }
                return std::string();
              },
          .shape = std::move(shape)};
}

Codec<ContainerName> name_codec();
Codec<std::string> label_codec();       // like a container's name
Codec<std::string> hostname_codec();    // labels joined by '.', at most 64 bytes (HOST_NAME_MAX)
Codec<std::string> user_codec();        // UID[:GID] or NAME[:GROUP]
Codec<std::string> tag_codec();         // of an OCI image
Codec<std::string> digest_codec();      // "sha256:" and 64 hexadecimal digits
Codec<std::string> interface_codec();   // of a network interface: 1 to 15 bytes (IFNAMSIZ)
Codec<std::string> argument_codec();    // free text
Codec<std::string> path_codec();        // absolute and normalised
Codec<std::string> host_path_codec();   // and not "/"
Codec<std::string> tar_path_codec();    // and with a suffix that is understood
Codec<std::string> mount_path_codec();  // and not where the container's own mounts are
Codec<std::string> socket_path_codec();  // and fits into a sockaddr_un
Codec<std::string> http_path_codec();    // "/status?of=all", as it stands in a request
Codec<std::string> capability_codec();  // "CAP_CHOWN"
Codec<std::string> sysctl_value_codec();
Codec<int> signal_codec();              // "SIGTERM"
Codec<Ipv4Prefix> ipv4_prefix_codec();  // a usable host address
Codec<Ipv6Prefix> ipv6_prefix_codec();
Codec<Ipv4Address> ipv4_codec();  // a usable unicast address
Codec<Ipv6Address> ipv6_codec();
Codec<IpAddress> any_address_codec();
Codec<IpAddress> probe_address_codec();  // the same, or loopback
Codec<std::optional<MacAddress>> mac_codec();  // "auto" (absent), or unicast and not zero

// Keys of maps: the error's message names the key and says what to write.
Status check_environment_name(std::string_view name);
Status check_sysctl_name(std::string_view name);

// `text` if it is empty or absolute, else as seen from the absolute directory `base`, normalised.
std::string resolve_path(std::string_view base, std::string_view text);

// The absolute directory of a file, where relative paths in it start. kIo.
Result<std::string> directory_of(const std::string& path);

// Whether `path` is `directory` or lies below it; both normalised.
bool is_within(std::string_view path, std::string_view directory);

}  // namespace perdure::model
