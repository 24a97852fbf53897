// Proves that sealed content comes back byte for byte, of every size around the borders of chunks and in whatever
// pieces it is written and read; and that every flipped byte, every cut, every chunk that is moved, repeated or taken
// from another file, and a key that is missing or another's, is noticed. By all three ways of opening: from memory,
// from a file, from a stream.
#include "pki/sealing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <format>
#include <string>

#include "pki/crypto.h"

namespace perdure::pki {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kSizes[] = {
    0, 1, 4096, kChunkBytes - 1, kChunkBytes, kChunkBytes + 1, 3 * kChunkBytes, 3 * kChunkBytes + 5};
constexpr std::size_t kSealedChunk = kChunkBytes + kTagBytes;

KeyRing ring_of(std::uint32_t id) {
  return KeyRing({KeyRing::make_key(id, WallTime()).value()});
}

std::string content_of(std::size_t size) {
  std::string content(size, '\0');
  for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 31 + i / 4099);
  return content;
}

std::span<std::byte> writable(std::string& text) {
  return std::as_writable_bytes(std::span(text));
}

// `step`: bytes per append; it grows, so that many lengths occur.
std::string seal(const KeyRing& ring, std::string_view content, std::size_t step = SIZE_MAX) {
  std::string sealed;
  auto sealer = Sealer::begin(ring.newest(), [&](std::span<const std::byte> bytes) -> Status {
    sealed.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  });
  EXPECT_TRUE(sealer);
  while (!content.empty()) {
    const std::string_view piece = content.substr(0, step);
    EXPECT_TRUE(sealer->append(bytes_of(piece)));
    content.remove_prefix(piece.size());
    step += step / 3 + 1;
  }
  EXPECT_TRUE(sealer->finish());
  return sealed;
}

Result<std::string> open_file(const KeyRing& ring, std::string_view sealed, std::size_t step = SIZE_MAX) {
  std::string_view rest = sealed;
  const auto read = [&](std::span<std::byte> into) -> Status {
    EXPECT_LE(into.size(), rest.size()) << "reads beyond the end";
    std::ranges::copy(bytes_of(rest.substr(0, into.size())), into.begin());
    rest.remove_prefix(std::min(into.size(), rest.size()));
    return {};
  };
  PERDURE_ASSIGN(Opener opener, Opener::begin(ring, sealed.size(), read));
  std::string content(opener.content_bytes(), '\0');
  for (std::size_t at = 0; at < content.size();) {
    const std::size_t size = std::min(step, content.size() - at);
    PERDURE_TRY(opener.read(writable(content).subspan(at, size)));
    at += size;
    step += step == SIZE_MAX ? 0 : step / 3 + 1;
  }
  EXPECT_TRUE(rest.empty());
  return content;
}

Result<std::string> open_stream(const KeyRing& ring, std::string_view sealed, std::size_t step = SIZE_MAX / 2) {
  if (sealed.size() < kSealedHeaderBytes) return fail(ErrorCode::kCorrupt, "ends early");
  std::string_view rest = sealed.substr(kSealedHeaderBytes);
  const auto read = [&](std::span<std::byte> into) -> Result<std::size_t> {
    const std::string_view some = rest.substr(0, into.size());
    std::ranges::copy(bytes_of(some), into.begin());
    rest.remove_prefix(some.size());
    return some.size();
  };
  PERDURE_ASSIGN(StreamOpener opener, StreamOpener::begin(ring, bytes_of(sealed).first<kSealedHeaderBytes>(), read));
  std::string content;
  for (;;) {
    const std::size_t wanted = std::min(step, sealed.size());
    const std::size_t at = content.size();
    content.resize(at + wanted);
    const auto got = opener.read(writable(content).subspan(at));
    if (!got) {
      // Asking again does not make it good.
      std::byte more{};
      EXPECT_FALSE(opener.read(std::span(&more, 1)));
      return fail(got.error());
    }
    content.resize(at + *got);
    if (*got < wanted) return content;
    step += step / 3 + 1;
  }
}

Result<std::string> open_memory(const KeyRing& ring, std::string_view sealed) {
  PERDURE_ASSIGN(const std::uint64_t size, content_size(sealed.size()));
  std::string content(size, '\0');
  PERDURE_TRY(open_sealed(ring, bytes_of(sealed), writable(content)));
  return content;
}

std::array<Result<std::string>, 3> opened(const KeyRing& ring, std::string_view sealed) {
  return {open_memory(ring, sealed), open_file(ring, sealed), open_stream(ring, sealed)};
}

void expect_refused(const KeyRing& ring, std::string_view sealed, ErrorCode code, const std::string& what) {
  for (const auto& result : opened(ring, sealed)) {
    ASSERT_FALSE(result) << what;
    ASSERT_EQ(result.error().code(), code) << what << ": " << result.error().message();
  }
}

TEST(Sealing, ContentOfEverySizeComesBack) {
  const KeyRing ring = ring_of(5);
  for (const std::size_t size : kSizes) {
    const std::string content = content_of(size);
    const std::string sealed = seal(ring, content);
    EXPECT_EQ(sealed.size(), sealed_size(size));
    EXPECT_EQ(content_size(sealed.size()).value(), size);
    EXPECT_TRUE(is_sealed(bytes_of(sealed)));
    for (const auto& result : opened(ring, sealed)) {
      ASSERT_TRUE(result) << result.error().message();
      EXPECT_TRUE(*result == content) << size;
    }
  }
}

TEST(Sealing, PiecesMakeNoDifference) {
  const KeyRing ring = ring_of(5);
  for (const std::size_t size : kSizes) {
    const std::string content = content_of(size);
    for (const std::size_t step : {std::size_t{1}, std::size_t{4096}, kChunkBytes, kChunkBytes + 1}) {
      const std::string sealed = seal(ring, content, step);
      ASSERT_EQ(sealed.size(), sealed_size(size));
      EXPECT_TRUE(open_file(ring, sealed, step) == content);
      EXPECT_TRUE(open_stream(ring, sealed, step) == content);
    }
  }
}

TEST(Sealing, ABeginningNeedsOnlyItsChunks) {
  const KeyRing ring = ring_of(5);
  const std::string content = content_of(3 * kChunkBytes);
  const std::string sealed = seal(ring, content);
  EXPECT_EQ(sealed_prefix_size(1), kSealedHeaderBytes + kSealedChunk);
  EXPECT_EQ(sealed_prefix_size(kChunkBytes), kSealedHeaderBytes + kSealedChunk);
  EXPECT_EQ(sealed_prefix_size(kChunkBytes + 1), kSealedHeaderBytes + 2 * kSealedChunk);
  std::size_t at = 0;
  auto opener = Opener::begin(ring, sealed.size(), [&](std::span<std::byte> into) -> Status {
    std::ranges::copy(bytes_of(sealed).subspan(at, into.size()), into.begin());
    at += into.size();
    return {};
  });
  std::string beginning(kChunkBytes + 1, '\0');
  ASSERT_TRUE(opener->read(writable(beginning)));
  EXPECT_TRUE(content.starts_with(beginning));
  EXPECT_EQ(at, sealed_prefix_size(beginning.size()));
}

TEST(Sealing, NothingRepeatsOrShowsThrough) {
  const KeyRing ring = ring_of(5);
  const std::string content(2 * kChunkBytes, 'a');
  const std::string one = seal(ring, content);
  const std::string two = seal(ring, content);
  EXPECT_EQ(one.find("aaaa"), std::string::npos);
  const auto chunk = [](const std::string& sealed, std::size_t number) {
    return sealed.substr(kSealedHeaderBytes + number * kSealedChunk, kSealedChunk);
  };
  EXPECT_FALSE(chunk(one, 0) == chunk(one, 1));
  EXPECT_FALSE(chunk(one, 0) == chunk(two, 0));
}

TEST(Sealing, EveryFlippedByteIsNoticed) {
  const KeyRing ring = ring_of(5);
  for (const std::size_t size : {0u, 1u, 300u}) {
    const std::string good = seal(ring, content_of(size));
    for (std::size_t at = 0; at < good.size(); ++at) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
      expect_refused(ring, bad, ErrorCode::kCorrupt, std::format("byte {} of {}", at, good.size()));
    }
  }
}

TEST(Sealing, EveryCutIsNoticed) {
  const KeyRing ring = ring_of(5);
  const std::string small = seal(ring, content_of(300));
  for (std::size_t size = 0; size < small.size(); ++size) {
    expect_refused(ring, small.substr(0, size), ErrorCode::kCorrupt, std::format("cut to {}", size));
  }
  const std::string large = seal(ring, content_of(2 * kChunkBytes + 100));
  for (std::size_t chunks = 0; chunks <= 2; ++chunks) {
    for (const int around : {-1, 0, 1, 15, 16, 17, 50}) {
      const std::size_t size = kSealedHeaderBytes + chunks * kSealedChunk + static_cast<std::size_t>(around);
      expect_refused(ring, large.substr(0, size), ErrorCode::kCorrupt, std::format("cut to {}", size));
    }
  }
  expect_refused(ring, large + "x", ErrorCode::kCorrupt, "a byte more");
  expect_refused(ring, large + large.substr(kSealedHeaderBytes), ErrorCode::kCorrupt, "twice");
}

TEST(Sealing, ChunksKeepTheirPlaceAndTheirFile) {
  const KeyRing ring = ring_of(5);
  const std::string content = content_of(3 * kChunkBytes);
  const std::string good = seal(ring, content);
  const std::string other = seal(ring, content);
  const auto with_chunk = [&](std::size_t place, const std::string& from, std::size_t number) {
    std::string bad = good;
    return bad.replace(kSealedHeaderBytes + place * kSealedChunk, kSealedChunk, from,
                       kSealedHeaderBytes + number * kSealedChunk, kSealedChunk);
  };
  std::string swapped = with_chunk(0, good, 1);
  swapped.replace(kSealedHeaderBytes + kSealedChunk, kSealedChunk, good, kSealedHeaderBytes, kSealedChunk);
  expect_refused(ring, swapped, ErrorCode::kCorrupt, "swapped");
  expect_refused(ring, with_chunk(1, good, 0), ErrorCode::kCorrupt, "repeated");
  expect_refused(ring, with_chunk(1, other, 1), ErrorCode::kCorrupt, "of another file");
  expect_refused(ring, with_chunk(2, good, 1), ErrorCode::kCorrupt, "no last one");
  std::string header = good;
  expect_refused(ring, header.replace(0, kSealedHeaderBytes, other, 0, kSealedHeaderBytes), ErrorCode::kCorrupt,
                 "another header");
  std::string flipped = good;
  flipped[kSealedHeaderBytes + kSealedChunk + 9] ^= 1;
  for (const auto& result : opened(ring, flipped)) EXPECT_THAT(result.error().message(), HasSubstr("chunk 1 "));
}

TEST(Sealing, KeysAreToldApart) {
  const KeyRing ring = ring_of(5);
  const std::string sealed = seal(ring, "state");
  for (const KeyRing& keys : {KeyRing(), ring_of(4)}) {
    expect_refused(keys, sealed, ErrorCode::kPermission, "key 5 is missing");
    EXPECT_THAT(open_memory(keys, sealed).error().message(),
                HasSubstr("sealed with key 5, which is not in the key ring"));
  }
  EXPECT_THAT(open_memory(ring_of(4), sealed).error().message(), HasSubstr("(keys there: 4)"));
  expect_refused(ring_of(5), sealed, ErrorCode::kPermission, "another cluster's key 5");
  const KeyRing more({ring.newest(), ring_of(6).newest(), ring_of(1).newest()});
  EXPECT_EQ(open_memory(more, sealed).value(), "state");
}

TEST(Sealing, OnlyPossibleSizesAreTaken) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{kSealedHeaderBytes + kTagBytes - 1},
                                   std::uint64_t{kSealedHeaderBytes + kSealedChunk + 1},
                                   std::uint64_t{kSealedHeaderBytes + kSealedChunk + kTagBytes}, ~std::uint64_t{0},
                                   sealed_size(kMaxSealedContentBytes) + 1}) {
    EXPECT_EQ(content_size(size).error().code(), ErrorCode::kCorrupt) << size;
  }
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{kChunkBytes}, kMaxSealedContentBytes}) {
    EXPECT_EQ(content_size(sealed_size(size)).value(), size);
  }
  EXPECT_FALSE(is_sealed(bytes_of("PERDSEA")));
  EXPECT_FALSE(is_sealed(bytes_of("PERDCAP1")));
}

TEST(Sealing, AFailedWriteIsReportedAndNothingFollowsIt) {
  const KeyRing ring = ring_of(5);
  int writes = 0;
  auto sealer = Sealer::begin(ring.newest(), [&](std::span<const std::byte>) -> Status {
    if (++writes == 2) return fail(ErrorCode::kNoSpace, "full");
    return {};
  });
  const std::string content = content_of(4 * kChunkBytes);
  EXPECT_EQ(sealer->append(bytes_of(content)).error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(sealer->append(bytes_of("x")).error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(sealer->finish().error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(writes, 2);
}

TEST(Sealing, AFailedReadIsReported) {
  const KeyRing ring = ring_of(5);
  const auto nothing = [](std::span<std::byte>) -> Status { return fail(ErrorCode::kIo, "gone"); };
  EXPECT_EQ(Opener::begin(ring, sealed_size(1), nothing).error().code(), ErrorCode::kIo);
}

}  // namespace
}  // namespace perdure::pki
