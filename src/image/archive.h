// A prepared root file system as one stream, so that a node that has it can give it to a node that needs it.
//
// The stream carries what the tree's digest covers (names, types, modes, owners, link targets, contents, device
// numbers, the extended attributes that belong to an image) and besides that hard links, modification times, holes,
// and the image's defaults (image.json). Its form is in archive_format.h.
//
// What is proved. The tree's digest travels in the header; the receiver reads back what it has written and compares.
// The image of a directory *is* that digest, so nothing of it is taken on trust. Of archives and layouts the image is
// the digest of the archive's or the manifest's bytes, which cannot be found again in an unpacked tree: there the
// pair (image, tree) is the sender's word, as are the defaults, and the comparison proves only that the tree arrived as
// the first node kept it when it prepared the image. A sender can always say that a tree is an archive's. Who knows
// from the specification that the root is a directory must ask for `tree_digest == digest` of what find_prepared()
// returns. Always the sender's word: which equal files are one inode, times, holes.
//
// The reader trusts nothing: names are single components, directories are entered beneath the new tree only, without
// links and mounts, and sizes, counts and depths are bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "image/image.h"

namespace perdure::image {

// The sum of the files' sizes, holes and repeated hard links included: all of it is read to verify it.
inline constexpr std::uint64_t kMaxArchiveContentBytes = std::uint64_t{64} << 30;
// Ten times the files of a desktop system.
inline constexpr std::uint64_t kMaxArchiveEntries = 5'000'000;

// Any thread, one call at a time; blocking.
class Packer {
 public:
  // Reads the whole tree once if it was prepared before tree digests were kept. kNotFound: the tree is gone.
  static Result<std::unique_ptr<Packer>> open(const PreparedImage& image);
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;
  ~Packer();

  // Fills `into` with the next bytes of the archive; fewer only at its end. kTransient: the tree changed while it was
  // read. kInvalid: it is beyond the bounds above. After an error the archive cannot be gone on with.
  Result<std::size_t> read(std::span<std::byte> into);
  // The last byte has been handed out.
  bool finished() const;

 private:
  class Walk;
  explicit Packer(std::unique_ptr<Walk> walk);
  std::unique_ptr<Walk> walk_;
};

// Any thread, one call at a time; blocking. Needs root: owners, device nodes.
//
// Unpacks into IMAGES_DIR/.incoming-HEX-RANDOM, locked while this lives; what a crash left of that kind is removed by
// the next begin() or remove_unused(). Any number of receivers of one image may be at it: the first to finish wins, the
// others return what it has made.
class Unpacker {
 public:
  // kInvalid: no digest.
  static Result<std::unique_ptr<Unpacker>> begin(const std::string& images_dir, const std::string& digest);
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;
  ~Unpacker();  // before finish(): removes what was unpacked

  // The next bytes, cut anywhere. kCorrupt: no such archive, or of another image. kInvalid: beyond the bounds.
  // kNoSpace. After an error every further call returns it.
  Status feed(std::span<const std::byte> bytes);
  // Verifies and makes the image visible, whole and on disk. kCorrupt: the archive is not complete, or the tree is not
  // what its digest says. Once; nothing may be fed afterwards.
  Result<PreparedImage> finish();

 private:
  class Staging;
  explicit Unpacker(std::unique_ptr<Staging> staging);
  std::unique_ptr<Staging> staging_;
};

}  // namespace perdure::image
