// A capsule as bytes: full, or as a delta against its parent. The layout is in
// docs/capsule-format.md.
//
// Encoding copies nothing but what it compresses: the result is a list of pieces, most of which are
// the capsule's own pages. Decoding in turn refers to uncompressed pages where they lie in the
// file.
//
// Everything here is a pure computation on memory: thread-safe, blocking for as long as it computes
// (pool threads), no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "capsule/format/compression.h"
#include "capsule/format/slab.h"

namespace perdure::capsule {

// Bytes of content per part. Each part has its own codec and digest: damage is told by the part,
// and a compressed part is bounded before it is unpacked.
inline constexpr std::size_t kPartBytes = std::size_t{1} << 20;
// Magic, version, size of the header, digest of the header.
inline constexpr std::size_t kPreludeBytes = 32;
// Manifest and part table: 24 bytes per MiB of content, so this is room for kMaxContentBytes and
// more.
inline constexpr std::size_t kMaxHeaderBytes = std::size_t{4} << 20;
inline constexpr std::uint64_t kMaxContentBytes = std::uint64_t{64} << 30;  // uncompressed

struct CodecOptions {
  // What the link or disk behind this encoding takes now; the caller measures it. 0: not known, do
  // not compress.
  double bytes_per_second = 0;
  // Of this host. Absent: measured on the sample (CPU time, so that a busy host does not mislead).
  std::optional<CompressionSpeed> lz4;
  std::optional<CompressionSpeed> zstd;
  // Instead of the choice by sample (exports, tests). Parts that do not shrink stay as they are.
  std::optional<Compression> compression;
};

struct EncodeStats {
  Bytes content;  // uncompressed: index, images and pages that are not the parent's
  Bytes pages;    // of these, pages
  Compression compression = Compression::kNone;  // chosen; single parts may stay uncompressed
  Bytes compressed_from;                         // content of the parts that were compressed, …
  Bytes compressed_to;                           // … and their size then
  Duration cpu{};                                // of this thread
};

// The pieces follow each other to make the file. They lie in the capsule's slabs and in buffers of
// this object and stay valid as long as it lives, also when the capsule is gone.
struct EncodedCapsule {
  Manifest manifest;  // as written: `parent` and `parent_digest` are set on a delta and only there
  Digest digest;      // of the header, which holds the digests of all parts
  std::uint64_t size_bytes = 0;
  std::vector<std::span<const std::byte>> pieces;
  std::vector<std::shared_ptr<const void>> owners;
  EncodeStats stats;
};

// `parent` == nullptr: full. Else a delta that can be decoded only with this parent; its digest is
// that of the parent's encoded form and must come with it, and its generation must be lower.
// kInvalid: the capsule breaks a rule of validate.h, or is larger than kMaxContentBytes.
Result<EncodedCapsule> encode(const Capsule& child, const Capsule* parent,
                              const Digest* parent_digest, const CodecOptions& options);

// What the first bytes of a capsule say, verified by the header's digest; nothing of the parts is
// read.
struct CapsuleInfo {
  Manifest manifest;
  Digest digest;
  std::uint64_t size_bytes = 0;     // the file is exactly this long
  std::uint64_t content_bytes = 0;  // uncompressed
  std::size_t part_count = 0;
};
// Bytes from the beginning that read_info() needs, told from the first kPreludeBytes. kCorrupt.
Result<std::size_t> info_size(std::span<const std::byte> prelude);
Result<CapsuleInfo> read_info(std::span<const std::byte> beginning);  // kCorrupt

struct DecodeOptions {
  // Refuse more uncompressed content than this with kNoSpace, before memory is taken.
  std::uint64_t content_limit_bytes = kMaxContentBytes;
};
// `file` holds exactly one capsule. Uncompressed pages stay in it, so it lives as long as they do.
// For a delta `parent` is the complete capsule before and `parent_digest` the digest of the form
// that it was decoded from; for a full capsule both are ignored. Every byte is verified before
// anything is believed. kCorrupt: names what does not verify. kInvalid: a delta without a parent.
// kNoSpace: memory.
Result<Capsule> decode(SlabRef file, const Capsule* parent, const Digest* parent_digest,
                       const DecodeOptions& options = {});

// XXH3-128 of bytes that lie in one piece.
Digest digest_of(std::span<const std::byte> bytes);

}  // namespace perdure::capsule
