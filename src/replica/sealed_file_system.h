// Seals what is created and opens what is loaded (pki/sealing.h), so that a store above knows nothing of it: sizes,
// beginnings and contents are those of the content. Files that are not sealed, because they were written before there
// was a cluster, are read as they are.
//
// A sealed file ends with its first sync(): without that it does not open, and nothing can be appended afterwards. A
// beginning is read and verified in whole chunks of 1 MiB. What is loaded lies in anonymous memory, never in a mapping
// of its file; while it is opened, the sealed form is there as well (on network file systems: in memory).
//
// Beside the errors of the file system below: kPermission: sealed under a key that the ring does not hold; names its
// number. kCorrupt: changed, cut or reordered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "pki/key_ring.h"
#include "replica/file_system.h"

namespace perdure::replica {

class SealedFileSystem final : public FileSystem {
 public:
  // Without a ring (nullptr) there is no cluster: what is created is not sealed.
  SealedFileSystem(std::shared_ptr<FileSystem> inner, std::shared_ptr<const pki::KeyRing> ring);
  // `inner` outlives this.
  SealedFileSystem(FileSystem& inner, std::shared_ptr<const pki::KeyRing> ring)
      : SealedFileSystem(outliving(inner), std::move(ring)) {}
  // From the next call on: after a rotation, or when this node has joined a cluster. Files that are being written stay
  // with the key they were begun with.
  void use(std::shared_ptr<const pki::KeyRing> ring);
  // From the next call on nothing is sealed, or what is created is, as the ring says. What is sealed is opened in either case.
  void seal(bool seals);

  Status make_directories(const std::string& path) override;
  Result<std::unique_ptr<NewFile>> create(const std::string& path) override;  // kPermission: the ring is empty
  Status rename_new(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Status sync_directory(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;
  Result<std::uint64_t> size(const std::string& path) override;
  Result<std::string> read_prefix(const std::string& path, std::size_t size_bytes) override;
  Result<capsule::SlabRef> load(const std::string& path, std::uint64_t limit_bytes) override;
  Result<std::unique_ptr<StoreLock>> lock(const std::string& path) override;

 private:
  std::shared_ptr<const pki::KeyRing> ring() const;
  std::shared_ptr<const pki::KeyRing> ring_to_seal_with() const;

  const std::shared_ptr<FileSystem> below_;
  FileSystem& inner_;
  mutable std::mutex mutex_;
  std::shared_ptr<const pki::KeyRing> ring_;
  bool seals_ = true;
};

}  // namespace perdure::replica
