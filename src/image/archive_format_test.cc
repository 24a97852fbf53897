// Proves that the reader of archives passes on exactly what was written, however the bytes are cut, and refuses every
// lie: one archive is made for each, right but for that.
#include "image/archive_format.h"

#include <sys/sysmacros.h>

#include <format>
#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/archive_test_support.h"

namespace perdure::image {
namespace {

using test::ArchiveMaker;
using test::meta;
using testing::ElementsAre;
using testing::HasSubstr;

// What was said, one line each; neighbouring data of one file is one line.
class Recorder : public ArchiveSink {
 public:
  std::vector<std::string> lines;
  std::uint64_t linked_bytes = 0;  // what each link is said to have
  ErrorCode refuse_node = ErrorCode::kInvalid;
  bool refuses_nodes = false;

  Status header(std::string_view description) override { return say("header {}", description); }
  Status enter_directory(const std::string& name, const EntryMeta& meta) override {
    return say("enter '{}' {}", name, shown(meta));
  }
  Status leave_directory() override { return say("leave"); }
  Status begin_file(const std::string& name, const EntryMeta& meta, std::uint64_t size) override {
    return say("file '{}' {} of {}", name, shown(meta), size);
  }
  Status data(std::uint64_t offset, std::span<const std::byte> bytes) override {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (offset == next_offset_ && lines.back().starts_with("data")) {
      lines.back() += text;
    } else {
      lines.push_back(std::format("data {} {}", offset, text));
    }
    next_offset_ = offset + text.size();
    return {};
  }
  Status end_file() override { return say("end of file"); }
  Status symlink(const std::string& name, const EntryMeta& meta, const std::string& target) override {
    return say("symlink '{}' {} -> {}", name, shown(meta), target);
  }
  Status node(const std::string& name, const EntryMeta& meta, std::uint64_t device) override {
    if (refuses_nodes) return fail(refuse_node, "no nodes here");
    return say("node '{}' {} {}", name, shown(meta), device);
  }
  Result<std::uint64_t> link(const std::string& name, const std::string& target) override {
    lines.push_back(std::format("link '{}' = {}", name, target));
    return linked_bytes;
  }

 private:
  static std::string shown(const EntryMeta& meta) {
    std::string text =
        std::format("{:o} {}:{} {}.{}", meta.mode, meta.uid, meta.gid, meta.modified_s, meta.modified_ns);
    for (const auto& [name, value] : meta.attributes) text += std::format(" {}={}", name, value);
    return text;
  }
  template <typename... Args>
  Status say(std::format_string<Args...> format, Args&&... args) {
    lines.push_back(std::format(format, std::forward<Args>(args)...));
    return {};
  }
  std::uint64_t next_offset_ = 0;
};

std::string everything() {
  EntryMeta file = meta(S_IFREG | 04755);
  file.uid = 33;
  file.gid = 34;
  file.modified_s = -5;
  file.attributes = {{"security.capability", "c"}, {"trusted.overlay.opaque", "y"}, {"user.note", ""}};
  return ArchiveMaker()
      .magic()
      .header("{}")
      .directory("")
      .file("a", 10, file)
      .data(0, "ab")
      .data(7, "xyz")
      .file("empty", 0)
      .directory("d")
      .symlink("l", "../../out")
      .node("null", S_IFCHR | 0666, makedev(1, 3))
      .link("h", "d/l")
      .leave()
      .node("pipe", S_IFIFO | 0600, 0)
      .end()
      .text();
}

TEST(ArchiveReaderTest, SaysWhatWasWrittenHoweverItIsCut) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{100'000}}) {
    Recorder recorder;
    ArchiveReader reader(recorder);
    EXPECT_FALSE(reader.complete());
    ASSERT_TRUE(test::feed(reader, everything(), piece));
    EXPECT_TRUE(reader.complete());
    EXPECT_THAT(
        recorder.lines,
        ElementsAre("header {}", "enter '' 40755 0:0 1700000000.1",
                    "file 'a' 104755 33:34 -5.1 security.capability=c trusted.overlay.opaque=y user.note= of 10",
                    "data 0 ab", "data 7 xyz", "end of file", "file 'empty' 100644 0:0 1700000000.1 of 0",
                    "end of file", "enter 'd' 40755 0:0 1700000000.1",
                    "symlink 'l' 120777 0:0 1700000000.1 -> ../../out",
                    std::format("node 'null' 20666 0:0 1700000000.1 {}", makedev(1, 3)), "link 'h' = d/l", "leave",
                    "node 'pipe' 10600 0:0 1700000000.1 0", "leave"))
        << piece;
  }
}

TEST(ArchiveReaderTest, IsCompleteAtItsEndAndNowhereElse) {
  const std::string archive = everything();
  for (std::size_t size = 0; size < archive.size(); ++size) {
    Recorder recorder;
    ArchiveReader reader(recorder);
    ASSERT_TRUE(test::feed(reader, archive.substr(0, size))) << size;
    EXPECT_FALSE(reader.complete()) << size;
  }
  Recorder recorder;
  ArchiveReader reader(recorder);
  const Status more = test::feed(reader, archive + "x");
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), ErrorCode::kCorrupt);
  EXPECT_FALSE(reader.complete());
}

TEST(ArchiveReaderTest, AnErrorStays) {
  Recorder recorder;
  recorder.refuses_nodes = true;
  recorder.refuse_node = ErrorCode::kNoSpace;
  ArchiveReader reader(recorder);
  EXPECT_EQ(test::feed(reader, everything()).error().code(), ErrorCode::kNoSpace);
  const std::size_t said = recorder.lines.size();
  EXPECT_EQ(test::feed(reader, "x").error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(recorder.lines.size(), said);
}

class LiesTest : public testing::Test {
 protected:
  void expect_refused(std::string_view what, const ArchiveMaker& archive, ErrorCode code = ErrorCode::kCorrupt) {
    for (const std::size_t piece : {std::size_t{1} << 20, std::size_t{3}}) {
      Recorder recorder;
      recorder.linked_bytes = linked_bytes;
      ArchiveReader reader(recorder);
      const Status taken = test::feed(reader, archive.text(), piece);
      ASSERT_FALSE(taken) << what;
      EXPECT_EQ(taken.error().code(), code) << what << ": " << taken.error().message();
      EXPECT_THAT(taken.error().message(), HasSubstr("image archive"));
      EXPECT_FALSE(reader.complete());
    }
  }
  static ArchiveMaker begun() { return ArchiveMaker().begin(); }
  std::uint64_t linked_bytes = 0;
};

TEST_F(LiesTest, NamesThatLeaveTheirDirectory) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("/"), std::string("a/b"), std::string("../x"),
        std::string("a\0b", 3), std::string(256, 'n')}) {
    expect_refused(name, begun().directory(name));
    expect_refused(name, begun().file(name, 0));
    expect_refused(name, begun().symlink(name, "x"));
    expect_refused(name, begun().node(name, S_IFIFO | 0600, 0));
    expect_refused(name, begun().link(name, "x"));
  }
  expect_refused("a root with a name", ArchiveMaker().magic().header("{}").directory("root"));
}

TEST_F(LiesTest, LinksThatLeaveTheTree) {
  for (const std::string& target :
       {std::string(), std::string("/etc/passwd"), std::string("../x"), std::string("a/../b"), std::string("a//b"),
        std::string("a/"), std::string("./a"), std::string("a\0b", 3)}) {
    expect_refused(target, begun().link("l", target));
  }
  expect_refused("a symlink to nothing", begun().symlink("l", ""));
  expect_refused("a target with a NUL", begun().symlink("l", std::string("a\0b", 3)));
  expect_refused("a long target", begun().symlink("l", std::string(4096, 't')));
}

TEST_F(LiesTest, RecordsOutOfPlace) {
  expect_refused("another magic", ArchiveMaker().bytes("PERDIMG2"));
  expect_refused("no header", ArchiveMaker().magic().directory(""));
  expect_refused("two headers", ArchiveMaker().begin().header("{}"));
  expect_refused("no root", ArchiveMaker().magic().header("{}").file("a", 0));
  expect_refused("an end at once", ArchiveMaker().magic().header("{}").empty(RecordType::kEnd));
  expect_refused("an end inside", begun().empty(RecordType::kEnd));
  expect_refused("two roots", begun().leave().directory(""));
  expect_refused("more leaving than entering", begun().leave().leave());
  expect_refused("an unknown record", begun().empty(static_cast<RecordType>(99)));
  expect_refused("an end with a body", begun().leave().bytes(std::string("\x09\0\0\0\x01\0\0\0x", 9)));
  expect_refused("leaving with a body", begun().bytes(std::string("\x03\0\0\0\x01\0\0\0x", 9)));
}

TEST_F(LiesTest, DataThatDoesNotFitItsFile) {
  expect_refused("data without a file", begun().data(0, "x"));
  expect_refused("data of a link", begun().symlink("l", "t").data(0, "x"));
  expect_refused("data of an empty file", begun().file("f", 0).data(0, "x"));
  expect_refused("data beyond the end", begun().file("f", 4).data(2, "xyz"));
  expect_refused("data far beyond", begun().file("f", 4).data(~std::uint64_t{0}, "x"));
  expect_refused("data that goes back", begun().file("f", 9).data(3, "xyz").data(5, "x"));
  expect_refused("data of nothing", begun().file("f", 9).data(3, ""));
  expect_refused("too much data at once", begun().file("f", 9).bytes(std::string("\x05\0\0\0\xff\xff\xff\x7f", 8)));
}

TEST_F(LiesTest, FieldsThatCannotBe) {
  EntryMeta bad = meta(S_IFDIR | 0644);
  expect_refused("a file that is a directory", begun().file("f", 0, bad));
  expect_refused("a directory that is a file", begun().directory("d", meta(S_IFREG | 0644)));
  expect_refused("a node that is a file", begun().node("n", S_IFREG | 0644, 0));
  expect_refused("a node that is a directory", begun().node("n", S_IFDIR | 0755, 0));
  expect_refused("a mode of more bits", begun().file("f", 0, meta(S_IFREG | 0x10000 | 0644)));
  for (std::uint32_t EntryMeta::* field : {&EntryMeta::uid, &EntryMeta::gid}) {
    bad = meta(S_IFREG | 0644);
    bad.*field = ~std::uint32_t{0};
    expect_refused("an owner that means nobody", begun().file("f", 0, bad));
  }
  bad = meta(S_IFREG | 0644);
  bad.modified_ns = 1'000'000'000;
  expect_refused("a time with too many nanoseconds", begun().file("f", 0, bad));
  expect_refused("a record that is too short", begun().bytes(std::string("\x04\0\0\0\x03\0\0\0abc", 11)));
  expect_refused("a record that is too long", begun().bytes(std::string("\x04\0\0\0\x01\0\x10\0", 8)));
}

TEST_F(LiesTest, AttributesThatBelongToNoImage) {
  const auto with = [](const Attributes& attributes) {
    EntryMeta file = meta(S_IFREG | 0644);
    file.attributes = attributes;
    return begun().file("f", 0, file);
  };
  for (const char* name : {"security.selinux", "system.posix_acl_access", "trusted.overlay.origin", "trusted.x", ""}) {
    expect_refused(name, with({{name, "v"}}));
  }
  expect_refused("a name with a NUL", with({{std::string("user.a\0b", 8), "v"}}));
  expect_refused("an attribute twice", with({{"user.a", "1"}, {"user.a", "2"}}));
  expect_refused("a value beyond what any file system keeps", with({{"user.a", std::string(65537, 'v')}}));
  Attributes many;
  for (std::size_t i = 0; i <= kMaxAttributes; ++i) many.emplace_back(std::format("user.{:04}", i), "");
  expect_refused("too many", with(many));
}

TEST_F(LiesTest, MoreThanTheBounds) {
  ArchiveMaker deep = begun();
  for (std::size_t i = 0; i <= kMaxTreeDepth; ++i) deep.directory("d");
  expect_refused("a tree too deep", deep, ErrorCode::kInvalid);
  ArchiveMaker path = begun();
  for (std::size_t i = 0; i <= kMaxTreePathBytes / 250; ++i) path.directory(std::string(250, 'd'));
  expect_refused("a path too long", path, ErrorCode::kInvalid);
  expect_refused("a file too large", begun().file("f", kMaxArchiveContentBytes + 1), ErrorCode::kInvalid);
  expect_refused("a file of all bits", begun().file("f", ~std::uint64_t{0}), ErrorCode::kInvalid);
  expect_refused("files too large", begun().file("f", kMaxArchiveContentBytes).file("g", 1), ErrorCode::kInvalid);
  linked_bytes = kMaxArchiveContentBytes / 2;
  expect_refused("links that are read again and again", begun().file("f", linked_bytes).link("g", "f").link("h", "f"),
                 ErrorCode::kInvalid);
}

TEST(AttributesOfImagesTest, AreThoseThatAContainerSees) {
  for (const char* name : {"security.capability", "user.note", "trusted.overlay.opaque", "trusted.overlay.whiteout"}) {
    EXPECT_TRUE(belongs_to_image(name)) << name;
  }
  for (const char* name :
       {"security.selinux", "trusted.overlay.origin", "trusted.overlay.", "system.posix_acl_access"}) {
    EXPECT_FALSE(belongs_to_image(name)) << name;
  }
}

}  // namespace
}  // namespace perdure::image
