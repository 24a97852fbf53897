// Proves that users are resolved as other engines do: names in the image's files, unknown numbers
// as they are, unknown names refused, broken lines passed over.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/bundle.h"
#include "image/test_support.h"

namespace perdure::image {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class UsersTest : public testing::Test {
 protected:
  void SetUp() override {
    test::write_text(root() + "/etc/passwd",
                     "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34::/var/www:\n"
                     "1000:x:77:77::/odd:\nbad:x:notanumber:1::/:\n");
    test::write_text(root() + "/etc/group",
                     "root:x:0:\nweb:x:34:web\nssl:x:99:other,web\nadm:x:4:\n");
  }
  const std::string& root() const { return directory_.path(); }
  ProcessIdentity resolved(const std::string& user) const {
    const auto identity = resolve_user(user, root());
    EXPECT_TRUE(identity) << identity.error().message();
    return identity.value_or(ProcessIdentity{});
  }

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(UsersTest, NothingMeansRoot) {
  const ProcessIdentity identity = resolved("");
  EXPECT_EQ(identity.uid, 0u);
  EXPECT_EQ(identity.gid, 0u);
  EXPECT_EQ(identity.home, "/root");
}

TEST_F(UsersTest, NameBringsItsGroups) {
  const ProcessIdentity identity = resolved("web");
  EXPECT_EQ(identity.uid, 33u);
  EXPECT_EQ(identity.gid, 34u);
  EXPECT_THAT(identity.additional_gids, ElementsAre(99u));
  EXPECT_EQ(identity.home, "/var/www");
  EXPECT_THAT(resolved("33").additional_gids, ElementsAre(99u));
}

TEST_F(UsersTest, NamedGroupReplacesTheOthers) {
  const ProcessIdentity identity = resolved("web:adm");
  EXPECT_EQ(identity.gid, 4u);
  EXPECT_THAT(identity.additional_gids, IsEmpty());
}

TEST_F(UsersTest, NumbersNeedNoEntry) {
  EXPECT_EQ(resolved("5000").uid, 5000u);
  EXPECT_EQ(resolved("5000").gid, 0u);
  EXPECT_EQ(resolved("5000:6000").gid, 6000u);
}

TEST_F(UsersTest, AUserMayBeCalledLikeANumber) {
  EXPECT_EQ(resolved("1000").uid, 77u);
}

TEST_F(UsersTest, UnknownNamesAreRefused) {
  for (const char* user : {"nobody", "web:nogroup", "bad", "-1", "4294967295", "99999999999"}) {
    const auto identity = resolve_user(user, root());
    ASSERT_FALSE(identity) << user;
    EXPECT_EQ(identity.error().code(), ErrorCode::kNotFound);
  }
}

TEST_F(UsersTest, ImageWithoutPasswdKnowsNumbersOnly) {
  const test::TemporaryDirectory empty;
  EXPECT_EQ(resolve_user("", empty.path()).value().uid, 0u);
  EXPECT_FALSE(resolve_user("root", empty.path()));
}

TEST_F(UsersTest, PasswdThatIsALinkStaysInsideTheImage) {
  std::filesystem::remove(root() + "/etc/passwd");
  std::filesystem::create_symlink("/../../../../etc/passwd", root() + "/etc/passwd");
  EXPECT_FALSE(resolve_user("daemon", root()));
}

}  // namespace
}  // namespace perdure::image
