// Proves that the decoder believes nothing because its digests are right: capsules are forged that
// are sealed correctly but whose headers and indexes lie, one lie at a time.
#include <gtest/gtest.h>

#include <functional>

#include "capsule.pb.h"
#include "capsule/format/codec.h"
#include "capsule/format/layout.h"
#include "capsule/format/test_capsules.h"

namespace perdure::capsule {
namespace {

using testing::encoded_full;
using testing::slab_of;
using testing::small_capsule;

Result<Capsule> decode_full(std::string_view bytes) {
  return decode(slab_of(bytes), nullptr, nullptr);
}

using ChangeHeader = std::function<void(v1::Header&)>;

// A capsule of one index part with these records and one page part of `pages` zero pages.
std::string forged(const std::vector<v1::IndexRecord>& records, std::uint32_t pages,
                   const ChangeHeader& change = {}) {
  std::string index;
  for (const v1::IndexRecord& record : records) append_record(record, index);
  const std::string content(pages * kPageSize, '\0');
  v1::Header header;
  header.mutable_manifest()->set_container("web");
  header.mutable_manifest()->mutable_generation()->set_number(9);
  const auto add = [&](PartKind kind, const std::string& bytes) {
    if (bytes.empty()) return;
    header.add_part_kind(static_cast<std::uint32_t>(kind));
    header.add_part_codec(0);
    header.add_part_content_bytes(static_cast<std::uint32_t>(bytes.size()));
    header.add_part_stored_bytes(static_cast<std::uint32_t>(bytes.size()));
    const DigestBytes digest = to_bytes(digest_of(std::as_bytes(std::span(bytes))));
    header.mutable_part_digests()->append(digest.data(), digest.size());
  };
  add(PartKind::kIndex, index);
  add(PartKind::kPages, content);
  if (change) change(header);
  const std::string body = header.SerializeAsString();
  const auto size = static_cast<std::uint32_t>(body.size());
  std::string file("PERDCAP1\x01\0\0\0", 12);
  for (int i = 0; i < 4; ++i) file += static_cast<char>(size >> (8 * i));
  const DigestBytes digest = to_bytes(digest_of(std::as_bytes(std::span(body))));
  file.append(digest.data(), digest.size());
  file += body + index;
  if (pages > 0) file.resize((file.size() + kPageSize - 1) / kPageSize * kPageSize);
  return file + content;
}

v1::IndexRecord memory_record(std::vector<std::pair<std::uint64_t, std::uint64_t>> runs,
                              const std::string& name = "mm-1") {
  v1::IndexRecord record;
  record.mutable_memory()->set_name(name);
  for (const auto& [gap, length] : runs) {
    record.mutable_memory()->mutable_runs()->add_gap_pages(gap);
    record.mutable_memory()->mutable_runs()->add_length_and_source(length);
  }
  return record;
}

v1::IndexRecord tree_record(const std::string& volume) {
  v1::IndexRecord record;
  record.mutable_tree()->set_volume(volume);
  return record;
}

v1::IndexRecord entry_record(const std::string& path) {
  v1::IndexRecord record;
  record.mutable_entry()->set_path(path);
  return record;
}

v1::IndexRecord image_record(const std::string& name, std::uint64_t size, bool from_parent) {
  v1::IndexRecord record;
  record.mutable_image()->set_name(name);
  record.mutable_image()->set_size_bytes(size);
  record.mutable_image()->set_from_parent(from_parent);
  return record;
}

v1::IndexRecord unchanged_record(std::uint64_t first, std::uint64_t count) {
  v1::IndexRecord record;
  record.mutable_unchanged()->set_first(first);
  record.mutable_unchanged()->set_count(count);
  return record;
}

void expect_refused(const std::string& file, const char* what) {
  const auto decoded = decode_full(file);
  ASSERT_FALSE(decoded) << what;
  EXPECT_EQ(decoded.error().code(), ErrorCode::kCorrupt) << what << decoded.error().message();
}

TEST(Lies, TheForgerWorks) {
  EXPECT_TRUE(decode_full(forged({}, 0)));
  const auto decoded = decode_full(forged({memory_record({{5, 2 << 1}, {3, 1 << 1}})}, 3));
  ASSERT_TRUE(decoded) << decoded.error().message();
  EXPECT_EQ(decoded->memory.at("mm-1").page_count(), 3u);
}

TEST(Lies, RunsThatCannotBe) {
  constexpr std::uint64_t kHuge = ~std::uint64_t{0};
  expect_refused(forged({memory_record({{0, 2 << 1}})}, 1), "more pages than there are");
  expect_refused(forged({memory_record({{0, 1 << 1}})}, 2), "pages left over");
  expect_refused(forged({memory_record({{0, 0}})}, 0), "empty run");
  expect_refused(forged({memory_record({{kHuge, 1 << 1}})}, 1), "gap overflows");
  expect_refused(forged({memory_record({{1, kHuge}})}, 1), "length overflows");
  expect_refused(forged({memory_record({{kMaxPageNumber, 1 << 1}})}, 1), "page beyond the end");
  expect_refused(forged({memory_record({{0, 1 << 1 | 1}})}, 0), "parent of a full capsule");
  v1::IndexRecord lopsided = memory_record({{0, 1 << 1}});
  lopsided.mutable_memory()->mutable_runs()->add_gap_pages(1);
  expect_refused(forged({lopsided}, 1), "gap without a length");
}

TEST(Lies, RecordsOutOfPlace) {
  const auto memory = memory_record({});
  expect_refused(forged({memory, memory}, 0), "object twice");
  expect_refused(forged({memory, memory_record({}, "mm-0")}, 0), "objects out of order");
  expect_refused(forged({memory_record({}, "a/b")}, 0), "object name");
  expect_refused(forged({tree_record(""), memory}, 0), "object behind a tree");
  expect_refused(forged({memory, image_record("a", 0, false)}, 0), "image behind an object");
  expect_refused(forged({image_record("a", 1, false)}, 0), "image without bytes");
  expect_refused(forged({image_record("a", 0, true)}, 0), "image of no parent");
  expect_refused(forged({image_record("../a", 0, false)}, 0), "image name");
  expect_refused(forged({entry_record("x")}, 0), "entry without a tree");
  expect_refused(forged({tree_record(""), tree_record("")}, 0), "tree twice");
  expect_refused(forged({tree_record(""), unchanged_record(0, 1)}, 0), "entries of no parent");
  expect_refused(forged({unchanged_record(0, 0)}, 0), "unchanged without a tree");
  expect_refused(forged({v1::IndexRecord()}, 0), "empty record");
  expect_refused(forged({tree_record(""), entry_record("/etc")}, 0), "absolute path");
  expect_refused(forged({tree_record(""), entry_record("..")}, 0), "path out of the tree");
  auto typeless = entry_record("x");
  typeless.mutable_entry()->set_type(7);
  expect_refused(forged({tree_record(""), typeless}, 0), "unknown type");
  auto xattrs = entry_record("x");
  for (int i = 0; i < 2; ++i) xattrs.mutable_entry()->add_xattrs()->set_key("user.a");
  expect_refused(forged({tree_record(""), xattrs}, 0), "xattr twice");
}

TEST(Lies, PartTablesThatCannotBe) {
  const std::vector<v1::IndexRecord> records{memory_record({{0, 1 << 1}})};
  const auto refuse = [&](const char* what, const ChangeHeader& change) {
    expect_refused(forged(records, 1, change), what);
  };
  ASSERT_TRUE(decode_full(forged(records, 1)));
  refuse("kind 0", [](auto& h) { h.set_part_kind(0, 0); });
  refuse("kind 4", [](auto& h) { h.set_part_kind(1, 4); });
  refuse("kinds out of order", [](auto& h) { h.set_part_kind(0, 3), h.set_part_kind(1, 1); });
  refuse("codec 3", [](auto& h) { h.set_part_codec(1, 3); });
  refuse("codec of another part", [](auto& h) { h.set_part_codec(1, 1); });
  refuse("no content", [](auto& h) { h.set_part_content_bytes(1, 0); });
  refuse("part of a page", [](auto& h) { h.set_part_content_bytes(1, 5000); });
  refuse("content above the bound", [](auto& h) {
    h.set_part_codec(1, 2);
    h.set_part_content_bytes(1, kPartBytes + kPageSize);
  });
  refuse("stored more than content", [](auto& h) { h.set_part_stored_bytes(1, 8192); });
  refuse("stored nothing", [](auto& h) { h.set_part_codec(1, 1), h.set_part_stored_bytes(1, 0); });
  refuse("column too short", [](auto& h) { h.mutable_part_codec()->RemoveLast(); });
  refuse("digest too short", [](auto& h) { h.mutable_part_digests()->pop_back(); });
  refuse("bomb", [](auto& h) { h.set_part_codec(1, 2), h.set_part_stored_bytes(1, 100); });
  refuse("small part in the middle", [](auto& h) {
    h.add_part_kind(3), h.add_part_codec(0);
    h.add_part_content_bytes(4096), h.add_part_stored_bytes(4096);
    h.mutable_part_digests()->append(16, '\0');
  });
}

TEST(Lies, ManifestsThatCannotBe) {
  const auto refuse = [&](const char* what, const ChangeHeader& change) {
    expect_refused(forged({}, 0, change), what);
  };
  refuse("container", [](auto& h) { h.mutable_manifest()->set_container("../web"); });
  refuse("no manifest", [](auto& h) { h.clear_manifest(); });
  refuse("CPU features of a parent that is none",
         [](auto& h) { h.mutable_manifest()->mutable_requirements()->set_cpu_features_from_parent(true); });
  refuse("parent without digest", [](auto& h) { h.mutable_manifest()->mutable_parent(); });
  refuse("digest without parent",
         [](auto& h) { h.mutable_manifest()->set_parent_digest(std::string(16, 'd')); });
  refuse("short digest", [](auto& h) {
    h.mutable_manifest()->mutable_parent();
    h.mutable_manifest()->set_parent_digest("short");
  });
  refuse("parent of its own", [](auto& h) {
    *h.mutable_manifest()->mutable_parent() = h.manifest().generation();
    h.mutable_manifest()->set_parent_digest(std::string(16, 'd'));
  });
  refuse("hint twice", [](auto& h) {
    for (int i = 0; i < 2; ++i) h.mutable_manifest()->add_restore_hints()->set_key("k");
  });
}

TEST(Lies, DeltasThatTakeWhatTheParentDoesNotHave) {
  const Capsule parent = small_capsule(7);
  const Digest digest = encoded_full(parent).digest;
  const auto outcome = [&](const std::vector<v1::IndexRecord>& records) {
    const std::string file = forged(records, 0, [&](v1::Header& h) {
      h.mutable_manifest()->mutable_generation()->set_term(4);
      h.mutable_manifest()->mutable_parent()->set_term(3);
      h.mutable_manifest()->mutable_parent()->set_incarnation(0x1f);
      h.mutable_manifest()->mutable_parent()->set_number(7);
      const DigestBytes bytes = to_bytes(digest);
      h.mutable_manifest()->set_parent_digest(bytes.data(), bytes.size());
    });
    const auto decoded = decode(slab_of(file), &parent, &digest);
    return decoded ? ErrorCode::kExists : decoded.error().code();
  };
  const auto tree = tree_record("");
  EXPECT_EQ(outcome({memory_record({{16, 2 << 1 | 1}})}), ErrorCode::kExists);
  EXPECT_EQ(outcome({memory_record({{16, 3 << 1 | 1}})}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({memory_record({{15, 1 << 1 | 1}})}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({memory_record({{0, 1 << 1 | 1}}, "mm-2")}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({image_record("none.img", 0, true)}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({image_record("core-1.img", 4, true)}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({tree, unchanged_record(0, 8)}), ErrorCode::kExists);
  EXPECT_EQ(outcome({tree, unchanged_record(0, 9)}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({tree, unchanged_record(9, 0)}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({tree, unchanged_record(1, ~std::uint64_t{0})}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({tree, unchanged_record(0, 3), unchanged_record(2, 3)}), ErrorCode::kCorrupt);
  EXPECT_EQ(outcome({tree, unchanged_record(3, 1)}), ErrorCode::kCorrupt);  // no directory above
}

}  // namespace
}  // namespace perdure::capsule
