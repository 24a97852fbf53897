// The key ring as a file of a node:
//
//   perdure key ring 1
//   key NUMBER CREATED KEY      one line per key, by number; Unix time in milliseconds; 64 hexadecimal digits
//   sha256 DIGEST               of all lines above, so that a damaged key is not taken for one
//
// A text of lines, not JSON: it is made and read without a copy of a key in memory that nobody wipes.
#include <charconv>
#include <format>
#include <limits>
#include <utility>

#include "pki/crypto.h"
#include "pki/key_ring.h"

namespace perdure::pki {
namespace {

constexpr std::string_view kFirstLine = "perdure key ring 1\n";
constexpr std::string_view kKeyWord = "key ";
constexpr std::string_view kDigestWord = "sha256 ";
constexpr std::size_t kDigestLineBytes = kDigestWord.size() + 64 + 1;
constexpr std::size_t kMaxLineBytes = 128;
constexpr std::int64_t kMaxMilliseconds = std::numeric_limits<std::int64_t>::max() / 1'000'000;

template <typename Number>
bool take_number(std::string_view& line, Number& number) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return false;
  const std::string_view digits = line.substr(0, space);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  line.remove_prefix(space + 1);
  return error == std::errc{} && end == digits.data() + digits.size() && std::format("{}", number) == digits;
}

Result<SealingKey> parse_key(std::string_view line, std::size_t number) {
  SealingKey key;
  std::int64_t milliseconds = 0;
  const bool good = line.starts_with(kKeyWord) && (line.remove_prefix(kKeyWord.size()), take_number(line, key.id)) &&
                    key.id != 0 && take_number(line, milliseconds) && milliseconds >= -kMaxMilliseconds &&
                    milliseconds <= kMaxMilliseconds && from_hex(line, key.key);
  if (!good) return fail(ErrorCode::kCorrupt, std::format("key ring: line {} is no key", number));
  key.created = WallTime(std::chrono::milliseconds(milliseconds));
  return key;
}

// The lines between the first and the digest.
Result<std::string_view> verified_body(std::string_view text) {
  if (!text.starts_with(kFirstLine)) return fail(ErrorCode::kCorrupt, "no key ring, or of a newer version");
  if (text.size() < kFirstLine.size() + kDigestLineBytes || text.size() > (kMaxKeys + 2) * kMaxLineBytes) {
    return fail(ErrorCode::kCorrupt, std::format("key ring: {} bytes cannot be one", text.size()));
  }
  const std::string_view covered = text.substr(0, text.size() - kDigestLineBytes);
  const std::string_view last = text.substr(covered.size());
  Sha256Digest digest{};
  if (!last.starts_with(kDigestWord) || !last.ends_with('\n') ||
      !from_hex(last.substr(kDigestWord.size(), 64), digest) || digest != sha256(bytes_of(covered))) {
    return fail(ErrorCode::kCorrupt, "key ring: its digest does not fit its content");
  }
  return covered.substr(kFirstLine.size());
}

}  // namespace

std::string KeyRing::to_text() const {
  std::string text;
  text.reserve((keys_.size() + 2) * kMaxLineBytes);  // never moved: what is left behind would not be wiped
  text += kFirstLine;
  for (const SealingKey& key : keys_) {
    const auto created = std::chrono::floor<std::chrono::milliseconds>(key.created).time_since_epoch().count();
    std::string hex = to_hex(key.key);
    text += std::format("{}{} {} ", kKeyWord, key.id, created);
    text += hex;
    text += '\n';
    wipe(hex);
  }
  const std::string digest = to_hex(sha256(bytes_of(text)));
  text += kDigestWord;
  text += digest;
  text += '\n';
  return text;
}

Result<KeyRing> KeyRing::from_text(const std::string& text) {
  PERDURE_ASSIGN(std::string_view body, verified_body(text));
  std::vector<SealingKey> keys;
  while (!body.empty()) {
    const std::size_t number = keys.size() + 2;
    if (keys.size() == kMaxKeys) return fail(ErrorCode::kCorrupt, std::format("key ring: more than {} keys", kMaxKeys));
    const std::size_t end = body.find('\n');
    if (end == std::string_view::npos)
      return fail(ErrorCode::kCorrupt, std::format("key ring: line {} has no end", number));
    PERDURE_ASSIGN(const SealingKey key, parse_key(body.substr(0, end), number));
    if (!keys.empty() && key.id <= keys.back().id) {
      return fail(ErrorCode::kCorrupt, std::format("key ring: line {}: the keys are not in their order", number));
    }
    keys.push_back(key);
    body.remove_prefix(end + 1);
  }
  return KeyRing(std::move(keys));
}

}  // namespace perdure::pki
