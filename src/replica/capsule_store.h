// Where the encoded capsules of one container live beyond the owner's memory.
//
// A store holds generations, full ones and deltas; it never hands out one that does not verify,
// never overwrites one, and never lets go of one that another builds on. All calls block (pool
// threads only) and are thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "capsule/format/codec.h"

namespace perdure::replica {

// One line of the catalogue.
struct StoredGeneration {
  Generation generation;
  std::string location;  // the file's path
  Bytes size;
  std::optional<capsule::CapsuleInfo> info;  // absent: the header does not verify
  std::map<std::string, std::string> marks;  // word -> why
  std::optional<Error> corrupt;              // why, and what was found of it
  bool is_full() const { return info.has_value() && !info->manifest.parent.has_value(); }
};

struct StoreReceipt {
  Bytes size;
  Duration
      took{};  // writing and making durable; size / took is the bandwidth for the next encoding
};

struct SkippedGeneration {
  Generation generation;
  Error reason;
};
struct RestorableGeneration {
  Generation generation;
  capsule::Digest digest;
  capsule::CapsuleRef capsule;
  std::vector<SkippedGeneration> skipped;  // newer ones, newest first
};

inline constexpr std::size_t kMaxMarkBytes = 4096;

class CapsuleStore {
 public:
  virtual ~CapsuleStore() = default;

  // Durable and complete when it succeeds. On a failure everything stored before is untouched, and
  // after a crash the new generation is there completely or not at all. kExists: this generation is
  // stored already. kNotFound: a delta whose parent is not stored with that digest (encode it
  // full). kNoSpace: names the place and the bytes needed. kIo.
  virtual Result<StoreReceipt> put(const capsule::EncodedCapsule& encoded) = 0;

  // What is there, oldest first, by reading the headers only. Damaged ones are listed as damaged.
  virtual Result<std::vector<StoredGeneration>> list() = 0;

  // The complete capsule: the chain of parents is followed by digest and every byte is verified.
  // kNotFound: not stored. kCorrupt: names the generation of the chain that is missing or damaged.
  virtual Result<capsule::CapsuleRef> load(const Generation& generation) = 0;

  // The newest generation that loads and is not in `skip`, and why newer ones were passed over.
  // Marks are not looked at: the caller puts into `skip` what its marks mean to it. kNotFound:
  // none; the message holds all reasons. kNoSpace, kTransient and kPermission end the search: an
  // older generation would fare no better, and state must not be lost to a passing want.
  virtual Result<RestorableGeneration> newest_restorable(const std::set<Generation>& skip) = 0;

  // A word about a generation that outlives the daemon ("suspect", "abandoned"), and why: 1 to 16
  // letters a-z; at most kMaxMarkBytes. A generation may carry several; saying one again changes
  // nothing. kNotFound: no such generation.
  virtual Status mark(const Generation& generation, std::string_view word,
                      std::string_view why) = 0;
  virtual Status unmark(const Generation& generation, std::string_view word) = 0;

  // Its marks go with it. kConflict: a stored delta builds on it; names it. kNotFound.
  virtual Status remove(const Generation& generation) = 0;

  // Removes every generation that is neither in `keep` nor needed by one that is, damaged ones
  // included, and returns them. Stops at the first failure; what was removed until then is gone.
  virtual Result<std::vector<Generation>> retain_only(const std::set<Generation>& keep) = 0;

  // Whether a child of `parent` should be written full: the chain has reached its bound, its deltas
  // together exceed the full capsule below them, or the parent is not there.
  virtual bool should_be_full(const Generation& parent) = 0;
};

// Whether newest_restorable() ends with such an error instead of passing over the generation.
inline bool ends_search(ErrorCode code) {
  return code == ErrorCode::kNoSpace || code == ErrorCode::kTransient || code == ErrorCode::kPermission;
}

// What a store says of itself, its server or its keys, not of the capsule: it may be read later.
inline bool may_be_read_later(ErrorCode code) {
  return code == ErrorCode::kIo || code == ErrorCode::kTimeout || ends_search(code);
}

}  // namespace perdure::replica
