// Proves that a key ring keeps its keys in order, comes back from its file and from etcd's wrapping, and that damage
// and another authority are noticed.
#include "pki/key_ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <format>

#include "pki/join_token.h"
#include "pki/test_support.h"

namespace perdure::pki {
namespace {

using std::chrono::milliseconds;
using testing::FixedClock;
using ::testing::HasSubstr;
using testing::new_authority;

WallTime day(int number) {
  return WallTime(std::chrono::hours(24 * number)) + milliseconds(7);
}

SealingKey key_of(std::uint32_t id) {
  return KeyRing::make_key(id, day(static_cast<int>(id))).value();
}

bool same(const SealingKey& a, const SealingKey& b) {
  return a.id == b.id && a.key == b.key && a.created == b.created;
}

bool same(const KeyRing& a, const KeyRing& b) {
  return std::ranges::equal(a.keys(), b.keys(), [](const auto& x, const auto& y) { return same(x, y); });
}

TEST(KeyRing, KeepsItsKeysByNumber) {
  const KeyRing ring({key_of(7), key_of(2), key_of(40)});
  EXPECT_EQ(ring.newest().id, 40u);
  EXPECT_EQ(ring.find(2)->id, 2u);
  EXPECT_EQ(ring.find(3), nullptr);
  EXPECT_EQ(ring.find(41), nullptr);
  EXPECT_EQ(ring.keys().front().id, 2u);
  EXPECT_TRUE(KeyRing().empty());
  EXPECT_EQ(KeyRing().find(1), nullptr);
}

TEST(KeyRing, KeysAreRandomAndNumberedFromOne) {
  EXPECT_EQ(KeyRing::make_key(0, day(1)).error().code(), ErrorCode::kInvalid);
  EXPECT_NE(key_of(1).key, key_of(1).key);
}

TEST(KeyRing, IsRotatedEveryThirtyDays) {
  const KeyRing ring = KeyRing().rotated(day(0)).value();
  EXPECT_TRUE(KeyRing().rotation_due(day(0)));
  EXPECT_EQ(ring.newest().id, 1u);
  EXPECT_FALSE(ring.rotation_due(day(29)));
  EXPECT_TRUE(ring.rotation_due(day(30)));
  const KeyRing next = ring.rotated(day(30)).value();
  EXPECT_EQ(next.newest().id, 2u);
  EXPECT_FALSE(next.rotation_due(day(59)));
  EXPECT_TRUE(same(*next.find(1), ring.newest()));
  KeyRing full = next;
  while (full.newest().id < kMaxKeys + 3) full = full.rotated(day(60)).value();
  EXPECT_EQ(full.keys().size(), kMaxKeys);
  EXPECT_EQ(full.keys().front().id, 4u);
}

TEST(KeyRing, ComesBackFromItsText) {
  KeyRing ring;
  for (std::size_t keys = 0; keys <= kMaxKeys; ++keys) {
    const auto back = KeyRing::from_text(ring.to_text());
    ASSERT_TRUE(back) << back.error().message();
    EXPECT_TRUE(same(*back, ring));
    ring = ring.rotated(day(static_cast<int>(keys))).value();
  }
}

TEST(KeyRing, EveryChangeOfItsTextIsNoticed) {
  const std::string text = KeyRing({key_of(1), key_of(2)}).to_text();
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string changed = text;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    const auto read = KeyRing::from_text(changed);
    ASSERT_FALSE(read) << at;
    EXPECT_EQ(read.error().code(), ErrorCode::kCorrupt);
    EXPECT_EQ(KeyRing::from_text(text.substr(0, at)).error().code(), ErrorCode::kCorrupt);
  }
  EXPECT_FALSE(KeyRing::from_text(text + "\n"));
  EXPECT_FALSE(KeyRing::from_text(text + text));
}

// What has a good digest and is no ring all the same; the digest is that of the text that is written here.
TEST(KeyRing, LinesAreCheckedBehindTheDigestToo) {
  const auto digest_line = [](const std::string& covered) {
    const std::string hash = [&] {
      std::string hex;
      for (const char c : secret_hash(covered)) hex += std::format("{:02x}", static_cast<unsigned char>(c));
      return hex;
    }();
    return covered + "sha256 " + hash + "\n";
  };
  const std::string first = "perdure key ring 1\n";
  const std::string hex(64, 'a');
  ASSERT_TRUE(KeyRing::from_text(digest_line(first + "key 1 1000 " + hex + "\n")));
  for (const std::string& lines :
       {std::string("key 0 1000 " + hex + "\n"), "key 1 1000 " + hex, "key 1 1000 " + hex + "a\n",
        "key 1 1000  " + hex + "\n", "key 01 1000 " + hex + "\n", "key 4294967296 1000 " + hex + "\n",
        "key -1 1000 " + hex + "\n", "key 1 9223372036854775807 " + hex + "\n", "key 1 x " + hex + "\n",
        "key 1 1000 " + std::string(64, 'A') + "\n", std::string("\n"), "key 2 1 " + hex + "\nkey 1 1 " + hex + "\n",
        "key 1 1 " + hex + "\nkey 1 1 " + hex + "\n"}) {
    const auto read = KeyRing::from_text(digest_line(first + lines));
    ASSERT_FALSE(read) << lines;
    EXPECT_EQ(read.error().code(), ErrorCode::kCorrupt);
    EXPECT_EQ(read.error().message().find("aaaa"), std::string::npos) << "shows a key";
  }
}

TEST(WrappedKey, OpensWithItsAuthorityOnly) {
  const Authority authority = new_authority();
  const SealingKey key = key_of(3);
  const auto wrapped = wrap(key, authority.private_key());
  ASSERT_TRUE(wrapped) << wrapped.error().message();
  EXPECT_EQ(wrapped->nonce.size(), 12u);
  EXPECT_EQ(wrapped->sealed.size(), 48u);
  const auto back = unwrap(*wrapped, authority.private_key());
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_TRUE(same(*back, key));
  EXPECT_NE(wrap(key, authority.private_key())->sealed, wrapped->sealed);
  // The key, not its spelling.
  EXPECT_TRUE(unwrap(*wrapped, "# the authority's\n" + authority.private_key()));

  const auto refused = unwrap(*wrapped, new_authority().private_key());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kPermission);
  EXPECT_THAT(refused.error().message(), HasSubstr("key 3"));
  EXPECT_EQ(unwrap(*wrapped, "x").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(wrap(key, "x").error().code(), ErrorCode::kInvalid);
}

TEST(WrappedKey, EveryChangeIsNoticed) {
  const Authority authority = new_authority();
  const WrappedKey good = wrap(key_of(3), authority.private_key()).value();
  const auto refused = [&](const WrappedKey& wrapped) {
    return unwrap(wrapped, authority.private_key()).error().code();
  };
  for (std::size_t at = 0; at < good.sealed.size(); ++at) {
    WrappedKey bad = good;
    bad.sealed[at] = static_cast<char>(bad.sealed[at] ^ 0x80);
    EXPECT_EQ(refused(bad), ErrorCode::kPermission);
  }
  WrappedKey bad = good;
  bad.nonce[0] = static_cast<char>(bad.nonce[0] ^ 1);
  EXPECT_EQ(refused(bad), ErrorCode::kPermission);
  bad = good;
  bad.id = 4;
  EXPECT_EQ(refused(bad), ErrorCode::kPermission);
  bad = good;
  bad.created += milliseconds(1);
  EXPECT_EQ(refused(bad), ErrorCode::kPermission);
  bad = good;
  bad.sealed.pop_back();
  EXPECT_EQ(refused(bad), ErrorCode::kCorrupt);
  bad = good;
  bad.nonce += "x";
  EXPECT_EQ(refused(bad), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace perdure::pki
