// Fuzzes the reader of archives; the first byte says how the rest is cut. What it says must be what a writer of trees
// relies on, and must not depend on the cuts.
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "image/archive.h"
#include "image/archive_format.h"
#include "image/oci_layout.h"
#include "image/sha256.h"

namespace {

using namespace perdure;
using namespace perdure::image;

constexpr std::size_t kMaxInputBytes = std::size_t{1} << 20;

void check_name(const std::string& name) {
  PERDURE_ASSERT(!name.empty() && name.size() <= kMaxNameBytes && name != "." && name != "..");
  PERDURE_ASSERT(!name.contains('/') && !name.contains('\0'));
}

class CheckingSink : public ArchiveSink {
 public:
  std::string digest() { return hash_.finish(); }

  Status header(std::string_view description) override {
    PERDURE_ASSERT(!described_);
    described_ = true;
    [[maybe_unused]] const auto read = description_from_json(std::string(description), "header");
    return say("header", description);
  }
  Status enter_directory(const std::string& name, const EntryMeta& meta) override {
    PERDURE_ASSERT(described_ && !in_file_ && S_ISDIR(meta.mode));
    if (depth_++ == 0) {
      PERDURE_ASSERT(name.empty() && !entered_);
      entered_ = true;
    } else {
      check_name(name);
    }
    PERDURE_ASSERT(depth_ <= kMaxTreeDepth + 1);
    return say("enter", name, meta);
  }
  Status leave_directory() override {
    PERDURE_ASSERT(!in_file_ && depth_ > 0);
    --depth_;
    return say("leave", "");
  }
  Status begin_file(const std::string& name, const EntryMeta& meta, std::uint64_t size_bytes) override {
    PERDURE_ASSERT(S_ISREG(meta.mode) && size_bytes <= kMaxArchiveContentBytes);
    in_file_ = true;
    size_ = size_bytes;
    position_ = 0;
    return entry("file", name, meta);
  }
  Status data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    PERDURE_ASSERT(in_file_ && !bytes.empty() && offset >= position_ && offset <= size_ &&
                   bytes.size() <= size_ - offset);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      hash_.update_number(offset + i);
      hash_.update(bytes.subspan(i, 1));
    }
    position_ = offset + bytes.size();
    return {};
  }
  Status end_file() override {
    PERDURE_ASSERT(in_file_);
    in_file_ = false;
    return {};
  }
  Status symlink(const std::string& name, const EntryMeta& meta, const std::string& target) override {
    PERDURE_ASSERT(!in_file_ && S_ISLNK(meta.mode) && !target.empty() && target.size() <= kMaxTargetBytes);
    PERDURE_ASSERT(!target.contains('\0'));
    return entry("symlink", name, meta);
  }
  Status node(const std::string& name, const EntryMeta& meta, std::uint64_t) override {
    PERDURE_ASSERT(!in_file_ && !S_ISREG(meta.mode) && !S_ISDIR(meta.mode) && !S_ISLNK(meta.mode));
    return entry("node", name, meta);
  }
  Result<std::uint64_t> link(const std::string& name, const std::string& target) override {
    PERDURE_ASSERT(!in_file_ && depth_ > 0);
    check_name(name);
    for (std::string_view rest = target;;) {
      const auto slash = rest.find('/');
      check_name(std::string(rest.substr(0, slash)));
      if (slash == std::string_view::npos) break;
      rest.remove_prefix(slash + 1);
    }
    PERDURE_TRY(say(name, target));
    return std::uint64_t{1} << 30;
  }

 private:
  Status say(std::string_view what, std::string_view more, const EntryMeta& meta = {}) {
    hash_.update(what);
    hash_.update(more);
    PERDURE_ASSERT(meta.uid != ~0U && meta.gid != ~0U && meta.modified_ns < 1'000'000'000);
    for (const auto& [name, value] : meta.attributes) {
      PERDURE_ASSERT(belongs_to_image(name));
      hash_.update(name);
      hash_.update(value);
    }
    return {};
  }
  Status entry(std::string_view what, const std::string& name, const EntryMeta& meta) {
    PERDURE_ASSERT(depth_ > 0);
    check_name(name);
    return say(what, name, meta);
  }

  Sha256 hash_;
  bool described_ = false;
  bool entered_ = false;
  bool in_file_ = false;
  std::size_t depth_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t position_ = 0;
};

struct Outcome {
  std::string digest;
  bool good = false;
  bool complete = false;
  bool operator==(const Outcome&) const = default;
};

Outcome read(std::span<const std::byte> bytes, std::size_t piece_bytes) {
  CheckingSink sink;
  ArchiveReader reader(sink);
  Outcome outcome;
  outcome.good = true;
  while (!bytes.empty() && outcome.good) {
    const auto piece = bytes.first(std::min(piece_bytes, bytes.size()));
    outcome.good = reader.feed(piece).has_value();
    bytes = bytes.subspan(piece.size());
  }
  outcome.complete = reader.complete();
  PERDURE_ASSERT(outcome.good || !outcome.complete);
  outcome.digest = sink.digest();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > kMaxInputBytes) return 0;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  const Outcome whole = read(bytes, kMaxInputBytes);
  const Outcome cut = read(bytes, std::size_t{data[0]} + 1);
  // Of a file that ends in an error, the pieces before it may have been passed on or not.
  PERDURE_ASSERT(whole.good == cut.good && whole.complete == cut.complete);
  PERDURE_ASSERT(!whole.good || whole.digest == cut.digest);
  return 0;
}
