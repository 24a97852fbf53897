// For the tests of this room: certificates made at any time, and a directory of one's own. Test programs only.
#pragma once

#include <stdlib.h>

#include <string>
#include <vector>

#include "base/assert.h"
#include "base/clock.h"
#include "io/atomic_file.h"
#include "pki/authority.h"

namespace perdure::pki::testing {

// Stands still at a whole second, far from the system's time.
class FixedClock final : public Clock {
 public:
  explicit FixedClock(Duration offset = {}) : offset_(offset) {}
  Instant now() const override { return Instant(); }
  WallTime wall() const override {
    return WallTime(std::chrono::seconds(2'000'000'000) + std::chrono::duration_cast<WallTime::duration>(offset_));
  }

 private:
  Duration offset_;
};

inline constexpr char kClusterId[] = "00112233445566778899aabbccddeeff";

inline Authority new_authority(const Clock& clock = FixedClock(), const std::string& id = kClusterId) {
  auto authority = Authority::create(id, clock);
  PERDURE_ASSERT(authority.has_value());
  return std::move(*authority);
}

struct NodeCredentials {
  std::string certificate;
  std::string key;
};
inline NodeCredentials new_node(const Authority& authority, const Clock& clock = FixedClock(),
                                const std::string& name = "alpha",
                                const std::vector<std::string>& addresses = {"192.0.2.1"}) {
  const std::string key = make_private_key().value();
  auto certificate = authority.sign({NodeName::parse(name).value(), public_key_of(key).value(), addresses}, clock);
  PERDURE_ASSERT(certificate.has_value());
  return {*certificate, key};
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() { PERDURE_ASSERT(::mkdtemp(path_.data()) != nullptr); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() { (void)io::remove_tree(path_); }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = "/tmp/perdure-pki.XXXXXX";
};

}  // namespace perdure::pki::testing
