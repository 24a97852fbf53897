// Proves that an exported capsule comes back through files and pipes, and that nothing else is
// taken for one.
#include "replica/transfer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <thread>

#include "capsule/format/test_capsules.h"

namespace perdure::replica {
namespace {

using capsule::testing::encoded_delta;
using capsule::testing::encoded_full;
using capsule::testing::joined;
using capsule::testing::same_state;
using capsule::testing::small_capsule;
using ::testing::HasSubstr;

constexpr Bytes kPlenty{std::uint64_t{1} << 30};

UniqueFd temporary_file(std::string_view content = {}) {
  char path[] = "/tmp/perdure-export.XXXXXX";
  UniqueFd fd(::mkstemp(path));
  ::unlink(path);
  const Status written = write_all(fd.get(), std::as_bytes(std::span(content)), path);
  PERDURE_ASSERT(written.has_value() && ::lseek(fd.get(), 0, SEEK_SET) == 0);
  return fd;
}

Error import_error(std::string_view content, Bytes limit = kPlenty) {
  const UniqueFd fd = temporary_file(content);
  const auto imported = read_import(fd.get(), limit, "'x.capsule'");
  return imported ? Error(ErrorCode::kExists, "taken for a good one") : imported.error();
}

TEST(Transfer, ThroughAFile) {
  const UniqueFd fd = temporary_file();
  const auto receipt = write_export(fd.get(), small_capsule(7), "'x.capsule'", {});
  ASSERT_TRUE(receipt) << receipt.error().message();
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_END), static_cast<off_t>(receipt->size.count));
  ::lseek(fd.get(), 0, SEEK_SET);
  const auto imported = read_import(fd.get(), kPlenty, "'x.capsule'");
  ASSERT_TRUE(imported) << imported.error().message();
  EXPECT_TRUE(same_state(*imported->capsule, small_capsule(7)));
  EXPECT_EQ(imported->digest, receipt->digest);
}

TEST(Transfer, ThroughAPipeInShortPieces) {
  auto pipe = make_pipe();
  ASSERT_TRUE(pipe);
  capsule::Capsule capsule = small_capsule(7);
  std::string bytes;
  for (std::uint32_t i = 0; i < 300; ++i) bytes += capsule::testing::noise_page(i);
  ASSERT_TRUE(capsule.memory["mm-9"].append({0, 300, capsule::testing::slab_of(bytes), 0}));
  std::thread writer([&, end = std::move(pipe->write_end)]() mutable {
    EXPECT_TRUE(write_export(end.get(), capsule, "pipe", {}));
    end.reset();
  });
  const auto imported = read_import(pipe->read_end.get(), kPlenty, "pipe");
  writer.join();
  ASSERT_TRUE(imported) << imported.error().message();
  EXPECT_TRUE(same_state(*imported->capsule, capsule));
}

TEST(Transfer, AnExportOfADeltaIsFull) {
  const auto parent = small_capsule(6);
  const auto full = encoded_full(parent);
  const auto delta = encoded_delta(small_capsule(7), parent, full.digest);
  const auto decoded =
      capsule::decode(capsule::testing::slab_of(joined(delta)), &parent, &full.digest);
  ASSERT_TRUE(decoded);
  const UniqueFd fd = temporary_file();
  ASSERT_TRUE(write_export(fd.get(), *decoded, "'x.capsule'", {}));
  ::lseek(fd.get(), 0, SEEK_SET);
  EXPECT_TRUE(read_import(fd.get(), kPlenty, "'x.capsule'"));
}

TEST(Transfer, WhatDoesNotVerifyIsRefused) {
  const std::string good = joined(encoded_full(small_capsule(7)));
  std::string flipped = good;
  flipped.back() ^= 1;
  EXPECT_EQ(import_error(flipped).code(), ErrorCode::kCorrupt);
  EXPECT_EQ(import_error("").code(), ErrorCode::kCorrupt);
  EXPECT_EQ(import_error("#!/bin/sh\necho this is no capsule at all\n").code(),
            ErrorCode::kCorrupt);
  for (const std::size_t length : {31u, 32u, 100u, 5000u}) {
    EXPECT_EQ(import_error(good.substr(0, length)).code(), ErrorCode::kCorrupt) << length;
  }
  EXPECT_EQ(import_error(good.substr(0, good.size() - 1)).code(), ErrorCode::kCorrupt);
  const Error trailing = import_error(good + "x");
  EXPECT_EQ(trailing.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(trailing.message(), HasSubstr("import 'x.capsule': there are bytes behind"));
}

TEST(Transfer, ADeltaIsOfNoUseAlone) {
  const auto parent = small_capsule(6);
  const auto delta = encoded_delta(small_capsule(7), parent, encoded_full(parent).digest);
  const Error error = import_error(joined(delta));
  EXPECT_EQ(error.code(), ErrorCode::kInvalid);
  EXPECT_THAT(error.message(), HasSubstr("delta on 3.1f.6"));
}

TEST(Transfer, TheLimitHoldsForBothForms) {
  const std::string plain = joined(encoded_full(small_capsule(7)));
  const std::string packed = joined(encoded_full(small_capsule(7), capsule::Compression::kZstd));
  EXPECT_EQ(import_error(plain, Bytes{plain.size() - 1}).code(), ErrorCode::kNoSpace);
  EXPECT_EQ(import_error(plain, Bytes{plain.size()}).code(), ErrorCode::kExists);
  EXPECT_EQ(import_error(packed, Bytes{packed.size()}).code(), ErrorCode::kNoSpace);
}

pki::KeyRing new_ring() { return pki::KeyRing().rotated(WallTime()).value(); }

std::string sealed_export(const capsule::Capsule& capsule, const pki::KeyRing& ring) {
  const UniqueFd fd = temporary_file();
  const auto receipt = write_export(fd.get(), capsule, "'x.capsule'", {}, &ring);
  PERDURE_ASSERT(receipt.has_value() && ::lseek(fd.get(), 0, SEEK_SET) == 0);
  std::string bytes = read_rest(fd.get(), SIZE_MAX, "'x.capsule'").value();
  EXPECT_EQ(receipt->size.count, bytes.size());
  return bytes;
}

Result<ImportedCapsule> sealed_import(std::string_view bytes, const pki::KeyRing* ring, Bytes limit = kPlenty) {
  const UniqueFd fd = temporary_file(bytes);
  return read_import(fd.get(), limit, "'x.capsule'", ring);
}

TEST(Transfer, SealedComesBackWithItsRingAndAlsoAfterARotation) {
  const pki::KeyRing ring = new_ring();
  const std::string bytes = sealed_export(small_capsule(7), ring);
  EXPECT_TRUE(bytes.starts_with("PERDSEA1"));
  EXPECT_EQ(bytes.find("PERDCAP1"), std::string::npos);
  const pki::KeyRing later = ring.rotated(WallTime()).value();
  for (const pki::KeyRing* keys : {&ring, &later}) {
    const auto imported = sealed_import(bytes, keys);
    ASSERT_TRUE(imported) << imported.error().message();
    EXPECT_TRUE(same_state(*imported->capsule, small_capsule(7)));
  }
}

TEST(Transfer, WithARingAlsoAnUnsealedOneIsRead) {
  const pki::KeyRing ring = new_ring();
  EXPECT_TRUE(sealed_import(joined(encoded_full(small_capsule(7))), &ring));
}

TEST(Transfer, SealedThroughAPipe) {
  const pki::KeyRing ring = new_ring();
  auto pipe = make_pipe();
  ASSERT_TRUE(pipe);
  capsule::Capsule capsule = small_capsule(7);
  std::string bytes;
  for (std::uint32_t i = 0; i < 600; ++i) bytes += capsule::testing::noise_page(i);
  ASSERT_TRUE(capsule.memory["mm-9"].append({0, 600, capsule::testing::slab_of(bytes), 0}));
  std::thread writer([&, end = std::move(pipe->write_end)]() mutable {
    EXPECT_TRUE(write_export(end.get(), capsule, "pipe", {}, &ring));
    end.reset();
  });
  const auto imported = read_import(pipe->read_end.get(), kPlenty, "pipe", &ring);
  writer.join();
  ASSERT_TRUE(imported) << imported.error().message();
  EXPECT_TRUE(same_state(*imported->capsule, capsule));
}

TEST(Transfer, AMissingKeyIsNamed) {
  const pki::KeyRing older = new_ring();
  const std::string bytes = sealed_export(small_capsule(7), older.rotated(WallTime()).value());
  for (const pki::KeyRing* ring : {static_cast<const pki::KeyRing*>(nullptr), &older}) {
    const auto refused = sealed_import(bytes, ring);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kPermission);
    EXPECT_THAT(refused.error().message(),
                HasSubstr("import 'x.capsule': it is sealed with key 2, which is not in the key ring"));
    EXPECT_THAT(refused.error().message(), HasSubstr("exported in another cluster"));
  }
  const pki::KeyRing foreign = new_ring().rotated(WallTime()).value();
  EXPECT_EQ(sealed_import(bytes, &foreign).error().code(), ErrorCode::kPermission);
}

TEST(Transfer, SealedDamageIsRefused) {
  const pki::KeyRing ring = new_ring();
  const std::string good = sealed_export(small_capsule(7), ring);
  for (const std::size_t at : {std::size_t{8}, std::size_t{13}, std::size_t{20}, std::size_t{47},
                               std::size_t{48}, good.size() / 2, good.size() - 1}) {
    std::string flipped = good;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    EXPECT_EQ(sealed_import(flipped, &ring).error().code(), ErrorCode::kCorrupt) << at;
  }
  for (const std::size_t size : {std::size_t{8}, std::size_t{47}, std::size_t{48}, std::size_t{64}, good.size() - 1}) {
    EXPECT_EQ(sealed_import(good.substr(0, size), &ring).error().code(), ErrorCode::kCorrupt) << size;
  }
  EXPECT_EQ(sealed_import(good + "x", &ring).error().code(), ErrorCode::kCorrupt);
}

TEST(Transfer, TheLimitHoldsForTheSealedFormToo) {
  const pki::KeyRing ring = new_ring();
  const std::string bytes = sealed_export(small_capsule(7), ring);
  const std::size_t content = joined(encoded_full(small_capsule(7))).size();
  EXPECT_EQ(sealed_import(bytes, &ring, Bytes{content - 1}).error().code(), ErrorCode::kNoSpace);
}

TEST(Transfer, AnEmptyRingSealsNoExport) {
  const pki::KeyRing empty;
  const UniqueFd fd = temporary_file();
  EXPECT_EQ(write_export(fd.get(), small_capsule(7), "'x.capsule'", {}, &empty).error().code(), ErrorCode::kPermission);
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_END), 0);
}

TEST(Transfer, WritingToNowhereIsAnError) {
  const UniqueFd full(::open("/dev/full", O_WRONLY));
  EXPECT_EQ(write_export(full.get(), small_capsule(7), "'/dev/full'", {}).error().code(),
            ErrorCode::kNoSpace);
}

}  // namespace
}  // namespace perdure::replica
