// Proves that every rule of validate.h refuses what breaks it: one broken capsule per rule.
#include "capsule/format/validate.h"

#include <gtest/gtest.h>

#include <functional>

#include "capsule/format/test_capsules.h"

namespace perdure::capsule {
namespace {

using testing::directory;
using testing::regular;
using testing::small_capsule;
using testing::special;
using testing::symlink;

struct Breakage {
  const char* what;
  std::function<void(Capsule&)> apply;
};

std::vector<FileEntry>& layer(Capsule& capsule) {
  return capsule.trees[0].entries;
}

// In the place that its path gives it, so that only the rule under test is broken.
void add(Capsule& capsule, FileEntry entry) {
  auto& entries = layer(capsule);
  entries.insert(std::ranges::lower_bound(entries, entry.path, {}, &FileEntry::path),
                 std::move(entry));
}

const Breakage kBreakages[] = {
    {"container name", [](Capsule& c) { c.manifest.container = "../x"; }},
    {"image twice", [](Capsule& c) { c.images[1].name = c.images[0].name; }},
    {"image order", [](Capsule& c) { std::swap(c.images[0], c.images[1]); }},
    {"image name with a slash", [](Capsule& c) { c.images[0].name = "../core"; }},
    {"image without a name", [](Capsule& c) { c.images[0].name.clear(); }},
    {"memory object name", [](Capsule& c) { c.memory["a/b"] = {}; }},
    {"volume order", [](Capsule& c) { std::swap(c.trees[0], c.trees[1]); }},
    {"volume twice", [](Capsule& c) { c.trees.push_back(c.trees[1]); }},
    {"volume name", [](Capsule& c) { c.trees[1].volume = ".."; }},
    {"absolute path", [](Capsule& c) { add(c, regular("/etc/passwd", "")); }},
    {"path out of the tree", [](Capsule& c) { add(c, regular("etc/../../x", "")); }},
    {"dot component", [](Capsule& c) { add(c, regular("etc/.", "")); }},
    {"empty component", [](Capsule& c) { add(c, regular("etc//x", "")); }},
    {"trailing slash", [](Capsule& c) { add(c, regular("etc/", "")); }},
    {"NUL in a path", [](Capsule& c) { add(c, regular(std::string("etc/a\0b", 7), "")); }},
    {"component too long", [](Capsule& c) { add(c, regular(std::string(256, 'n'), "")); }},
    {"path too long",
     [](Capsule& c) {
       std::string path = "etc";
       while (path.size() <= kMaxPathBytes) path += "/" + std::string(200, 'd');
       add(c, regular(path, ""));
     }},
    {"path twice", [](Capsule& c) { add(c, regular("etc/motd", "")); }},
    {"order", [](Capsule& c) { std::swap(layer(c)[2], layer(c)[3]); }},
    {"no directory above", [](Capsule& c) { add(c, regular("var/log", "")); }},
    {"through a symbolic link", [](Capsule& c) { add(c, regular("link/x", "")); }},
    {"below a file", [](Capsule& c) { add(c, regular("etc/motd/x", "")); }},
    {"root that is no directory", [](Capsule& c) { layer(c)[0].type = FileType::kFifo; }},
    {"unknown type", [](Capsule& c) { layer(c)[2].type = FileType{99}; }},
    {"mode with file type bits", [](Capsule& c) { layer(c)[2].mode = 0100644; }},
    {"symbolic link without a target", [](Capsule& c) { add(c, symlink("l", "")); }},
    {"target too long", [](Capsule& c) { add(c, symlink("l", std::string(4096, 't'))); }},
    {"NUL in a target", [](Capsule& c) { add(c, symlink("l", std::string("a\0b", 3))); }},
    {"target of a file", [](Capsule& c) { layer(c)[2].target = "x"; }},
    {"device number of a file", [](Capsule& c) { layer(c)[2].device = 1; }},
    {"size of a directory", [](Capsule& c) { layer(c)[1].size_bytes = 1; }},
    {"content of a fifo",
     [](Capsule& c) {
       FileEntry pipe = special("fifo", FileType::kFifo);
       pipe.content = testing::file_content("x");
       add(c, pipe);
     }},
    {"content behind the end", [](Capsule& c) { layer(c)[3].size_bytes = kPageSize; }},
    {"impossible size", [](Capsule& c) { layer(c)[2].size_bytes = kMaxFileBytes + 1; }},
    {"hard link to nothing", [](Capsule& c) { layer(c)[5].hard_link_to = "etc/none"; }},
    {"hard link to a later entry", [](Capsule& c) { layer(c)[2].hard_link_to = "etc/state"; }},
    {"hard link to itself", [](Capsule& c) { layer(c)[5].hard_link_to = "name"; }},
    {"hard link to another type", [](Capsule& c) { layer(c)[5].hard_link_to = "link"; }},
    {"hard link to a hard link",
     [](Capsule& c) {
       FileEntry entry = regular("zz", "");
       entry.hard_link_to = "name";
       add(c, entry);
     }},
    {"hard link of a directory",
     [](Capsule& c) {
       FileEntry entry = directory("zz");
       entry.hard_link_to = "etc";
       add(c, entry);
     }},
    {"hard link with content", [](Capsule& c) { layer(c)[3].hard_link_to = "etc/motd"; }},
    {"xattr without a name", [](Capsule& c) { layer(c)[2].xattrs[""] = "v"; }},
    {"xattr name too long", [](Capsule& c) { layer(c)[2].xattrs[std::string(256, 'x')] = "v"; }},
    {"NUL in an xattr name", [](Capsule& c) { layer(c)[2].xattrs[std::string("a\0b", 3)] = "v"; }},
    {"xattr value too long",
     [](Capsule& c) { layer(c)[2].xattrs["user.x"] = std::string(65537, 'v'); }},
    {"too many xattrs",
     [](Capsule& c) {
       for (int i = 0; i < 1025; ++i) layer(c)[2].xattrs["user." + std::to_string(i)] = "";
     }},
};

TEST(CheckCapsule, AcceptsSomethingOfEverything) {
  const Status good = check_capsule(small_capsule(1));
  EXPECT_TRUE(good) << good.error().message();
}

TEST(CheckCapsule, ARootIsOptionalAndNamesSortAsBytes) {
  Capsule capsule = small_capsule(1);
  layer(capsule) = {directory("a"), regular("a-b", ""), regular("a/b", ""), regular("a0", "")};
  EXPECT_TRUE(check_capsule(capsule));
}

TEST(CheckCapsule, RefusesEveryBrokenRule) {
  for (const Breakage& breakage : kBreakages) {
    Capsule capsule = small_capsule(1);
    breakage.apply(capsule);
    const Status status = check_capsule(capsule);
    ASSERT_FALSE(status) << breakage.what;
    EXPECT_EQ(status.error().code(), ErrorCode::kInvalid) << breakage.what;
    CodecOptions options;
    EXPECT_FALSE(encode(capsule, nullptr, nullptr, options)) << breakage.what;
  }
}

TEST(CheckCapsule, MessagesAreOneLineOfPrintableText) {
  Capsule capsule = small_capsule(1);
  add(capsule, regular("bad\n\x1b[31m/" + std::string(5000, 'x'), ""));
  const Error error = check_capsule(capsule).error();
  EXPECT_LT(error.message().size(), 400u);
  EXPECT_EQ(error.message().find('\n'), std::string::npos);
  EXPECT_EQ(error.message().find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace perdure::capsule
