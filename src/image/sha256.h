// SHA-256, incremental. The only place of this room that sees OpenSSL.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace perdure::image {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> data);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  // A number as 8 bytes, little endian, so that neighbouring fields cannot run into each other.
  void update_number(std::uint64_t number);
  std::string finish();  // "sha256:" + 64 hexadecimal digits; the object is spent afterwards

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_of(std::string_view text);
// From the descriptor's position to its end.
Status update_from(Sha256& hash, int fd, std::string_view what);

// "sha256:ab…" -> "ab…"; empty if TEXT is no such digest.
std::string_view digest_hex(std::string_view text);

}  // namespace perdure::image
