// Proves that the upper directory of a real overlay comes back - whiteouts and opaque directories
// included - and that files which are mapped through the merged mount are found in it, whatever
// numbers the kernel gives them.
#include "capsule/files/test_mapping.h"
#include "capsule/files/test_mounts.h"

namespace perdure::capsule {
namespace {

using namespace test;

// An overlay whose upper directory is the tree.
class Overlay {
 public:
  explicit Overlay(TestTree& tree) : tree_(tree) {
    for (const char* name : {"lower", "work", "merged"})
      fs::create_directory(tree.scratch + "/" + name);
  }
  ~Overlay() { unmount(); }
  Overlay(const Overlay&) = delete;
  Overlay& operator=(const Overlay&) = delete;
  std::string lower(const std::string& path) const { return tree_.scratch + "/lower/" + path; }
  std::string merged(const std::string& path = "") const {
    return tree_.scratch + "/merged/" + path;
  }
  void mount() {
    const std::string options =
        std::format("lowerdir={0}/lower,upperdir={0}/tree,workdir={0}/work", tree_.scratch);
    ASSERT_EQ(::mount("overlay", merged().c_str(), "overlay", 0, options.c_str()), 0)
        << std::strerror(errno);
  }
  void unmount() { ::umount2(merged().c_str(), MNT_DETACH); }

 private:
  TestTree& tree_;
};

class OverlayTest : public PrivilegedTest {};

TEST_F(OverlayTest, WhiteoutsAndOpaqueDirectoriesComeBack) {
  TestTree tree;
  Overlay overlay(tree);
  fs::create_directories(overlay.lower("etc"));
  for (const char* name : {"etc/a", "etc/b", "gone", "gone2", "changed"})
    write_file(overlay.lower(name), name);
  overlay.mount();
  fs::remove(overlay.merged("gone"));
  fs::remove_all(overlay.merged("etc"));
  fs::create_directory(overlay.merged("etc"));
  write_file(overlay.merged("etc/new"), "new");
  write_file(overlay.merged("changed"), "differently");
  const auto wanted = describe(overlay.merged());
  tree.settle();
  const FileTree captured = tree.must_capture();
  const FileEntry* whiteout = find_entry(captured, "gone");
  ASSERT_NE(whiteout, nullptr);
  EXPECT_EQ(whiteout->type, FileType::kCharacterDevice);
  EXPECT_EQ(whiteout->device, 0u);
  EXPECT_EQ(find_entry(captured, "etc")->xattrs.at("trusted.overlay.opaque"), "y");

  fs::remove(
      overlay.merged("gone2"));  // links to the same inode: changes the ctime of the other whiteout
  const FileTree later = tree.must_capture();
  EXPECT_EQ(tree.last.entries_new, 1u);
  EXPECT_EQ(find_entry(later, "gone")->hard_link_to, "");
  EXPECT_EQ(find_entry(later, "gone2")->hard_link_to, "");

  write_file(overlay.merged("gone"), "back again");
  fs::remove_all(overlay.merged("etc"));
  fs::remove(overlay.merged("changed"));
  overlay.unmount();
  tree.must_roll_back(captured, tree.tracker.get());
  overlay.mount();
  EXPECT_EQ(difference(describe(overlay.merged()), wanted), "");
  overlay.unmount();

  TestTree elsewhere;  // another host: the same lower directory, an empty upper one
  Overlay there(elsewhere);
  fs::copy(overlay.lower(""), there.lower(""), fs::copy_options::recursive);
  elsewhere.must_roll_back(captured, nullptr);
  there.mount();
  EXPECT_FALSE(fs::exists(there.merged("gone")));
  EXPECT_FALSE(fs::exists(there.merged("etc/a")));
  EXPECT_EQ(read_text(there.merged("changed")), "differently");
  EXPECT_EQ(read_text(there.merged("gone2")), "gone2");
}

// `upper` on a file system of its own or on the one of the lower directory; the numbers that the
// kernel gives a mapped file differ between these, between copied-up and new files, and between
// files with one and two lower links.
void expect_mapped_stores_are_found(TestTree& tree) {
  Overlay overlay(tree);
  for (const char* name : {"copied", "linked"})
    write_file(overlay.lower(name), std::string(kPageSize, '0'));
  fs::create_hard_link(overlay.lower("linked"), overlay.lower("linked2"));
  overlay.mount();
  fs::create_directory(overlay.merged("dir"));
  write_file(overlay.merged("dir/fresh"), std::string(kPageSize, '0'));
  write_file(overlay.merged("bystander"), std::string(kPageSize, '0'));
  const std::vector<std::string> names = {"copied", "linked", "linked2", "dir/fresh"};
  std::vector<std::unique_ptr<MappedFile>> mappings;
  for (const auto& name : names) {
    mappings.push_back(std::make_unique<MappedFile>(overlay.merged(name)));
    mappings.back()->store('1');
  }
  tree.tracker = tree.make_tracker(overlay.merged());
  tree.settle();
  tree.must_capture(own_hints());
  for (char value : {'2', '3'}) {
    for (const auto& mapping : mappings) mapping->store(value);
    const FileTree captured = tree.must_capture(own_hints());
    for (const auto& name : names) {
      EXPECT_EQ(content_of(*find_entry(captured, name)).front(), value) << name;
    }
  }
  fs::rename(overlay.merged("dir"), overlay.merged("moved"));
  for (const auto& mapping : mappings) mapping->store('4');
  EXPECT_EQ(content_of(*find_entry(tree.must_capture(own_hints()), "moved/fresh")).front(), '4');
  mappings.clear();
  tree.must_capture(own_hints());
  tree.must_capture(own_hints());
  EXPECT_EQ(tree.last.files_read, 0u);
  tree.tracker->set_merged({});
  EXPECT_EQ(::umount2(overlay.merged().c_str(), 0), 0) << "the tracker keeps the mount busy";
}

TEST_F(OverlayTest, StoresThroughMappingsAreFound) {
  TestTree tree;
  expect_mapped_stores_are_found(tree);
}

TEST_F(OverlayTest, StoresThroughMappingsAreFoundWithTheUpperDirectoryElsewhere) {
  Mounted upper("ext4", 64);
  if (!upper.ok()) GTEST_SKIP() << "no mkfs.ext4 or no loop device";
  TestTree tree;
  ASSERT_EQ(::mount(upper.path().c_str(), tree.scratch.c_str(), nullptr, MS_BIND, nullptr), 0);
  for (const char* name : {"tree", "staging"}) fs::create_directory(tree.scratch + "/" + name);
  {
    TestTree lower;
    fs::create_directory(tree.scratch + "/lower");
    ASSERT_EQ(
        ::mount(lower.root.c_str(), (tree.scratch + "/lower").c_str(), nullptr, MS_BIND, nullptr),
        0);
    expect_mapped_stores_are_found(tree);
    ::umount2((tree.scratch + "/lower").c_str(), MNT_DETACH);
  }
  tree.tracker.reset();
  ::umount2(tree.scratch.c_str(), MNT_DETACH);
}

TEST_F(OverlayTest, AllNamesOfAMappedInodeSayTheSame) {
  TestTree tree;
  Overlay overlay(tree);
  overlay.mount();
  write_file(overlay.merged("b"), std::string(kPageSize, '0'));
  fs::create_hard_link(overlay.merged("b"), overlay.merged("a"));
  fs::create_hard_link(overlay.merged("b"), overlay.merged("c"));
  MappedFile mapping(overlay.merged("b"));
  mapping.store('1');
  tree.tracker = tree.make_tracker(overlay.merged());
  tree.settle();
  tree.must_capture(own_hints());
  for (const char value : {'2', '3'}) {
    mapping.store(value);
    const FileTree captured = tree.must_capture(own_hints());
    EXPECT_EQ(content_of(*find_entry(captured, "a")).front(), value);
    EXPECT_EQ(find_entry(captured, "b")->hard_link_to, "a");
    EXPECT_EQ(find_entry(captured, "c")->hard_link_to, "a");
  }
}

TEST_F(OverlayTest, OnlyMappedFilesAreReadEachTime) {
  TestTree tree;
  Overlay overlay(tree);
  overlay.mount();
  for (int i = 0; i < 20; ++i) write_file(overlay.merged(std::format("{}", i)), "x");
  MappedFile mapping(overlay.merged("7"));
  tree.tracker = tree.make_tracker(overlay.merged());
  tree.settle();
  for (const char value : {'1', '2', '3'}) {
    mapping.store(value);  // what the host has written back meanwhile would not be read without it
    tree.must_capture(own_hints());
  }
  EXPECT_EQ(tree.last.files_read, 1u);
}

}  // namespace
}  // namespace perdure::capsule
