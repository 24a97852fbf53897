#include "model/value_codec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <span>
#include <system_error>

#include "model/text.h"

namespace perdure::model {
namespace {

constexpr std::size_t kMaxPathBytes = 4095;      // PATH_MAX without its terminating NUL
constexpr std::size_t kMaxComponentBytes = 255;  // NAME_MAX
constexpr std::size_t kMaxHostnameBytes = 64;    // HOST_NAME_MAX
constexpr std::size_t kMaxInterfaceBytes = 15;   // IFNAMSIZ without its terminating NUL
constexpr std::size_t kMaxSocketPathBytes = 107;  // sun_path without its terminating NUL
constexpr std::size_t kMaxHttpPathBytes = 1024;
constexpr std::size_t kMaxUserBytes = 32;        // useradd(8)
constexpr std::size_t kMaxTagBytes = 255;
constexpr std::size_t kMaxEnvironmentNameBytes = 255;
constexpr std::size_t kMaxArgumentBytes = std::size_t{32} << 10;

// Where every container has mounts of its own.
constexpr std::array<std::string_view, 3> kReservedMounts = {"/proc", "/sys", "/dev"};

// capabilities(7), without the prefix CAP_.
constexpr std::array<std::string_view, 41> kCapabilities = {
    "AUDIT_CONTROL",   "AUDIT_READ",   "AUDIT_WRITE",
    "BLOCK_SUSPEND",   "BPF",          "CHECKPOINT_RESTORE",
    "CHOWN",           "DAC_OVERRIDE", "DAC_READ_SEARCH",
    "FOWNER",          "FSETID",       "IPC_LOCK",
    "IPC_OWNER",       "KILL",         "LEASE",
    "LINUX_IMMUTABLE", "MAC_ADMIN",    "MAC_OVERRIDE",
    "MKNOD",           "NET_ADMIN",    "NET_BIND_SERVICE",
    "NET_BROADCAST",   "NET_RAW",      "PERFMON",
    "SETFCAP",         "SETGID",       "SETPCAP",
    "SETUID",          "SYS_ADMIN",    "SYS_BOOT",
    "SYS_CHROOT",      "SYS_MODULE",   "SYS_NICE",
    "SYS_PACCT",       "SYS_PTRACE",   "SYS_RAWIO",
    "SYS_RESOURCE",    "SYS_TIME",     "SYS_TTY_CONFIG",
    "SYSLOG",          "WAKE_ALARM",
};

// The members of kernel.* that belong to the IPC namespace (ipc/ipc_sysctl.c); fs.mqueue.* all do.
constexpr std::array<std::string_view, 8> kIpcSysctls = {
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
    "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
};

struct SignalName {
  std::string_view name;
  int number;
};
// Those by which programs are asked to stop. systemd in a container wants SIGRTMIN+3, as a number
// of the kernel's: the C library of the container may count differently.
constexpr int kSystemdHalt = 37;
constexpr std::array<SignalName, 9> kStopSignals = {{
    {"SIGTERM", SIGTERM},
    {"SIGINT", SIGINT},
    {"SIGQUIT", SIGQUIT},
    {"SIGHUP", SIGHUP},
    {"SIGUSR1", SIGUSR1},
    {"SIGUSR2", SIGUSR2},
    {"SIGWINCH", SIGWINCH},
    {"SIGKILL", SIGKILL},
    {"SIGRTMIN+3", kSystemdHalt},
}};

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool all_of(std::string_view text, std::string_view more_characters) {
  return std::ranges::all_of(text, [&](char c) {
    return is_alphanumeric(c) || more_characters.find(c) != std::string_view::npos;
  });
}

std::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(ErrorCode::kInvalid, std::format("{} {}", quote(text), why));
}

template <typename T>
struct Step {
  std::string_view unit;
  T size;
};

template <typename T>
std::string spell_in(T count, std::span<const Step<T>> steps) {
  for (const Step<T>& step : steps) {
    if (count != 0 && count % step.size == 0)
      return std::format("{}{}", count / step.size, step.unit);
  }
  return std::format("0{}", steps.back().unit);
}

// Without "//", "." and "..", and without a slash at the end.
std::string normalised(std::string_view path) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part == ".." && !parts.empty()) parts.pop_back();
    if (!part.empty() && part != "." && part != "..") parts.push_back(part);
    at = end + 1;
  }
  std::string result;
  for (const std::string_view part : parts) result += std::format("/{}", part);
  return result.empty() ? "/" : result;
}

Result<std::string> parse_path(std::string_view text) {
  if (!text.starts_with('/')) return refuse(text, "is not absolute; begin it with '/'");
  const std::string normal = normalised(text);
  if (normal != text)
    return refuse(text, std::format("is not normalised; write {}", quote(normal)));
  if (text.size() > kMaxPathBytes) {
    return refuse(text, std::format("is longer than {} bytes; shorten it", kMaxPathBytes));
  }
  for (std::size_t at = 1; at < text.size();) {
    const std::size_t end = std::min(text.find('/', at), text.size());
    if (end - at > kMaxComponentBytes) {
      return refuse(text,
                    std::format("has a part longer than {} bytes; shorten it", kMaxComponentBytes));
    }
    at = end + 1;
  }
  return std::string(text);
}

Result<std::string> parse_host_path(std::string_view text) {
  PERDURE_ASSIGN(std::string path, parse_path(text));
  if (path == "/") return refuse(text, "is the host's root; name a directory below it");
  return path;
}

Result<std::string> parse_mount_path(std::string_view text) {
  PERDURE_ASSIGN(std::string path, parse_path(text));
  if (path == "/") return refuse(text, "is the root file system itself; name a directory below it");
  for (const std::string_view reserved : kReservedMounts) {
    if (is_within(path, reserved)) {
      return refuse(text, std::format("lies in {}, which every container has of its own; mount it "
                                      "elsewhere",
                                      reserved));
    }
  }
  return path;
}

Result<std::string> parse_socket_path(std::string_view text) {
  PERDURE_ASSIGN(std::string path, parse_path(text));
  if (path.size() > kMaxSocketPathBytes) {
    return refuse(text, std::format("is longer than the {} bytes that a socket's address holds; "
                                    "shorten it",
                                    kMaxSocketPathBytes));
  }
  return path;
}

// What stands between the spaces of a request's first line (RFC 9112, section 3).
Result<std::string> parse_http_path(std::string_view text) {
  const bool good = text.starts_with('/') && text.size() <= kMaxHttpPathBytes &&
                    std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
  if (!good) {
    return refuse(text, std::format("is no path of HTTP; begin it with '/' and use printable ASCII "
                                    "without spaces, at most {} bytes",
                                    kMaxHttpPathBytes));
  }
  return std::string(text);
}

Result<std::string> parse_tar_path(std::string_view text) {
  PERDURE_ASSIGN(std::string path, parse_path(text));
  const bool known =
      text.ends_with(".tar") || text.ends_with(".tar.gz") || text.ends_with(".tar.zst");
  if (!known)
    return refuse(text, "is no archive by its name; it must end in .tar, .tar.gz or .tar.zst");
  return path;
}

Result<std::string> parse_hostname(std::string_view text) {
  bool good = !text.empty() && text.size() <= kMaxHostnameBytes;
  for (std::size_t at = 0; good && at <= text.size();) {
    const std::size_t end = std::min(text.find('.', at), text.size());
    const std::string_view label = text.substr(at, end - at);
    good = !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
           all_of(label, "-");
    at = end + 1;
  }
  if (!good) {
    return refuse(text,
                  std::format("is no host name; use letters, digits, '-' and '.', at most {} bytes",
                              kMaxHostnameBytes));
  }
  return std::string(text);
}

// A number below 2^32 - 1 (which means "no change" in setresuid(2)), or a name as in passwd(5).
bool is_user(std::string_view text) {
  if (text.empty() || text.size() > kMaxUserBytes || text.front() == '-') return false;
  const bool number = std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  if (number) return parse_number(text, 0, 4294967294U).has_value();
  return all_of(text, "_.-") && !(text.front() >= '0' && text.front() <= '9');
}

Result<std::string> parse_user(std::string_view text) {
  const auto colon = text.find(':');
  const bool group_good = colon == std::string_view::npos || is_user(text.substr(colon + 1));
  if (!is_user(text.substr(0, colon)) || !group_good) {
    return refuse(text, "is no user; write UID, UID:GID, NAME or NAME:GROUP");
  }
  return std::string(text);
}

Result<std::string> parse_tag(std::string_view text) {
  if (text.empty() || text.size() > kMaxTagBytes || !is_alphanumeric(text.front()) ||
      !all_of(text, "._:@/+-")) {
    return refuse(text, std::format("is no tag; use letters, digits and ._:@/+-, at most {} bytes",
                                    kMaxTagBytes));
  }
  return std::string(text);
}

// dev_valid_name() of the kernel, and printable.
Result<std::string> parse_interface(std::string_view text) {
  const bool good = !text.empty() && text.size() <= kMaxInterfaceBytes && text != "." &&
                    text != ".." && std::ranges::all_of(text, [](char c) {
                      return c > ' ' && c < 0x7f && c != '/' && c != ':' && c != '%';
                    });
  if (!good) {
    return refuse(text,
                  std::format("is no interface name; use 1 to {} characters without space, '/', "
                              "':' and '%'",
                              kMaxInterfaceBytes));
  }
  return std::string(text);
}

Result<std::string> parse_capability(std::string_view text) {
  const auto known = [](std::string_view name) {
    return std::ranges::find(kCapabilities, name) != kCapabilities.end();
  };
  if (text.starts_with("CAP_") && known(text.substr(4))) return std::string(text);
  std::string upper(text.substr(0, kMaxInterfaceBytes * 2));
  for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  const std::string_view bare =
      upper.starts_with("CAP_") ? std::string_view(upper).substr(4) : upper;
  if (known(bare)) return refuse(text, std::format("is spelled otherwise; write 'CAP_{}'", bare));
  return refuse(text, "is no capability; see capabilities(7), written as CAP_CHOWN");
}

Codec<std::string> text_codec(std::string type, std::string range,
                              std::function<Result<std::string>(std::string_view)> parse) {
  return {.type = std::move(type),
          .range = std::move(range),
          .parse = std::move(parse),
          .print = [](const std::string& text) { return text; }};
}

std::string spell_number(unsigned number) {
  return std::to_string(number);
}

template <typename T, typename Print>
Status check_range(std::string_view text, const T& value, const T& min, const T& max, Print print) {
  if (value < min || value > max) {
    return refuse(text, std::format("is out of range; write {} to {}", print(min), print(max)));
  }
  return {};
}

}  // namespace

std::string spell(Duration duration) {
  using Count = Duration::rep;
  constexpr std::array<Step<Count>, 6> kSteps = {{{"h", 3'600'000'000'000},
                                                  {"min", 60'000'000'000},
                                                  {"s", 1'000'000'000},
                                                  {"ms", 1'000'000},
                                                  {"us", 1'000},
                                                  {"ns", 1}}};
  if (duration == Duration::zero()) return "0s";
  return spell_in<Count>(duration.count(), kSteps);
}

std::string spell(Bytes bytes) {
  using Count = std::uint64_t;
  constexpr std::array<Step<Count>, 5> kSteps = {{{"TiB", Count{1} << 40},
                                                  {"GiB", Count{1} << 30},
                                                  {"MiB", Count{1} << 20},
                                                  {"KiB", Count{1} << 10},
                                                  {"B", 1}}};
  return spell_in<Count>(bytes.count, kSteps);
}

std::string spell(MilliCores cores) {
  std::string text = std::format("{}.{:03}", cores.count / 1000, cores.count % 1000);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

Codec<Duration> duration_codec(Duration min, Duration max) {
  return {.type = "duration",
          .range = std::format("{} to {}", spell(min), spell(max)),
          .parse = [=](std::string_view text) -> Result<Duration> {
            PERDURE_ASSIGN(const Duration duration, parse_duration(text));
            PERDURE_TRY(check_range(text, duration, min, max, [](Duration d) { return spell(d); }));
            return duration;
          },
          .print = [](const Duration& duration) { return spell(duration); },
          .plain = true,
          .shape = {.kind = ValueShape::Kind::kDuration}};
}

Codec<Bytes> bytes_codec(Bytes min, Bytes max) {
  return {.type = "size",
          .range = std::format("{} to {}", spell(min), spell(max)),
          .parse = [=](std::string_view text) -> Result<Bytes> {
            PERDURE_ASSIGN(const Bytes bytes, parse_bytes(text));
            PERDURE_TRY(check_range(text, bytes, min, max, [](Bytes b) { return spell(b); }));
            return bytes;
          },
          .print = [](const Bytes& bytes) { return spell(bytes); },
          .plain = true,
          .shape = {.kind = ValueShape::Kind::kSize}};
}

Codec<MilliCores> cores_codec(MilliCores min, MilliCores max) {
  return {.type = "cores",
          .range = std::format("{} to {}, in steps of 0.001", spell(min), spell(max)),
          .parse = [=](std::string_view text) -> Result<MilliCores> {
            double cores = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cores,
                                                      std::chars_format::fixed);
            const double milli = std::round(cores * 1000);
            const bool good = error == std::errc{} && end == text.data() + text.size() &&
                              std::abs(cores * 1000 - milli) < 1e-6 && milli >= min.count &&
                              milli <= max.count;
            if (!good) {
              return refuse(text,
                            std::format("is no number of cores; write {} to {} with at most three "
                                        "decimals",
                                        spell(min), spell(max)));
            }
            return MilliCores{static_cast<std::uint32_t>(milli)};
          },
          .print = [](const MilliCores& cores) { return spell(cores); },
          .plain = true};
}

Codec<unsigned> percent_codec(unsigned min, unsigned max) {
  return {.type = "percent",
          .range = std::format("{}% to {}%", min, max),
          .parse = [=](std::string_view text) -> Result<unsigned> {
            const auto number =
                parse_number(text.substr(0, text.size() - (text.ends_with('%') ? 1 : 0)), min, max);
            if (!text.ends_with('%') || !number) {
              return refuse(text, std::format("is no percentage; write {}% to {}%", min, max));
            }
            return static_cast<unsigned>(*number);
          },
          .print = [](const unsigned& percent) { return spell_number(percent) + "%"; },
          .plain = true};
}

Result<std::uint64_t> parse_number(std::string_view text, std::uint64_t min, std::uint64_t max) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool leading_zero = text.size() > 1 && text.front() == '0';
  if (error != std::errc{} || end != text.data() + text.size() || leading_zero || number < min ||
      number > max) {
    return refuse(
        text,
        std::format("is not one of the numbers {} to {}; write one in decimal digits", min, max));
  }
  return number;
}

Result<std::size_t> find_choice(std::string_view text, const std::vector<std::string>& words) {
  const auto found = std::ranges::find(words, text);
  if (found == words.end())
    return refuse(text, std::format("is not understood; write one of: {}", join(words)));
  return static_cast<std::size_t>(found - words.begin());
}

Codec<ContainerName> name_codec() {
  return {.type = "text",
          .range = "1 to 63 of a-z, 0-9 and `-`",
          .parse = [](std::string_view text) { return ContainerName::parse(text); },
          .print = [](const ContainerName& name) { return name.str(); }};
}

Codec<std::string> label_codec() {
  return text_codec(
      "text", "1 to 63 of a-z, 0-9 and `-`", [](std::string_view text) -> Result<std::string> {
        if (!ContainerName::parse(text)) {
          return refuse(
              text,
              "is no name; use 1 to 63 characters of a-z, 0-9 and '-', beginning and ending "
              "with a letter or digit");
        }
        return std::string(text);
      });
}

Codec<std::string> hostname_codec() {
  return text_codec("text", std::format("at most {} bytes", kMaxHostnameBytes), parse_hostname);
}
Codec<std::string> user_codec() {
  return text_codec("text", "", parse_user);
}
Codec<std::string> tag_codec() {
  return text_codec("text", std::format("at most {} bytes", kMaxTagBytes), parse_tag);
}
Codec<std::string> digest_codec() {
  return text_codec("text", "`sha256:` and 64 of 0-9 and a-f", [](std::string_view text) -> Result<std::string> {
    constexpr std::string_view kPrefix = "sha256:";
    constexpr std::size_t kDigits = 64;
    const std::string_view digits = text.starts_with(kPrefix) ? text.substr(kPrefix.size()) : std::string_view();
    if (digits.size() != kDigits || digits.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
      return refuse(text, "is no digest of an image; write 'sha256:' and its 64 digits");
    }
    return std::string(text);
  });
}
Codec<std::string> interface_codec() {
  return text_codec("text", std::format("1 to {} bytes", kMaxInterfaceBytes), parse_interface);
}

Codec<std::string> argument_codec() {
  Codec<std::string> codec =
      text_codec("text", std::format("at most {} KiB each", kMaxArgumentBytes >> 10),
                 [](std::string_view text) { return std::string(text); });
  codec.free_text = true;
  codec.max_bytes = kMaxArgumentBytes;
  return codec;
}

Codec<std::string> path_codec() {
  return text_codec("path", "", parse_path);
}
Codec<std::string> host_path_codec() {
  Codec<std::string> codec = text_codec("host path", "not `/`", parse_host_path);
  codec.host_path = true;
  return codec;
}
Codec<std::string> tar_path_codec() {
  Codec<std::string> codec =
      text_codec("host path", "ends in .tar, .tar.gz or .tar.zst", parse_tar_path);
  codec.host_path = true;
  return codec;
}
Codec<std::string> mount_path_codec() {
  return text_codec("path", "not `/`, not in /proc, /sys or /dev", parse_mount_path);
}
Codec<std::string> socket_path_codec() {
  return text_codec("path", std::format("at most {} bytes", kMaxSocketPathBytes),
                    parse_socket_path);
}
Codec<std::string> http_path_codec() {
  return text_codec("text",
                    std::format("begins with `/`, printable ASCII without spaces, at most {} bytes",
                                kMaxHttpPathBytes),
                    parse_http_path);
}
Codec<std::string> capability_codec() {
  return text_codec("text", "capabilities(7)", parse_capability);
}
Codec<std::string> sysctl_value_codec() {
  return text_codec("text", "at most 4096 bytes", [](std::string_view text) -> Result<std::string> {
    if (text.empty()) return refuse(text, "is empty; give the value to write");
    return std::string(text);
  });
}

Codec<int> signal_codec() {
  std::vector<std::string> words;
  for (const SignalName& entry : kStopSignals) words.emplace_back(entry.name);
  return {.type = "word",
          .range = join(words),
          .parse = [words](std::string_view text) -> Result<int> {
            PERDURE_ASSIGN(const std::size_t index, find_choice(text, words));
            return kStopSignals[index].number;
          },
          .print =
              [](const int& number) {
                const auto found = std::ranges::find(kStopSignals, number, &SignalName::number);
                return found == kStopSignals.end() ? std::to_string(number)
                                                   : std::string(found->name);
              },
          .shape = {.kind = ValueShape::Kind::kWord, .words = words}};
}

Status check_environment_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= kMaxEnvironmentNameBytes &&
                    name.find('=') == std::string_view::npos && !has_control_character(name);
  if (!good) {
    return refuse(name, std::format("is no variable's name; use 1 to {} bytes without '='",
                                    kMaxEnvironmentNameBytes));
  }
  return {};
}

Status check_sysctl_name(std::string_view name) {
  const bool form = name.size() <= kMaxComponentBytes && all_of(name, "._-") &&
                    name.find("..") == std::string_view::npos && !name.ends_with('.');
  const bool ours = name.starts_with("net.") || name.starts_with("fs.mqueue.") ||
                    std::ranges::find(kIpcSysctls, name) != kIpcSysctls.end();
  if (!form || !ours) {
    return refuse(name,
                  "does not belong to a container; net.*, fs.mqueue.* and kernel.msg*, kernel.sem, "
                  "kernel.shm* do, set others on the host");
  }
  return {};
}

std::string resolve_path(std::string_view base, std::string_view text) {
  if (text.empty() || text.front() == '/') return std::string(text);
  return normalised(std::format("{}/{}", base, text));
}

Result<std::string> directory_of(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return fail(ErrorCode::kIo, std::format("find the directory of '{}': {}", path, error.message()));
  return absolute.parent_path().string();
}

bool is_within(std::string_view path, std::string_view directory) {
  if (directory == "/") return true;
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

}  // namespace perdure::model
