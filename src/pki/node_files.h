// What a node of a cluster keeps of itself, in files of one directory (mode 0700, files 0600):
//
//   node.pem        its certificate and the private key to it; in one file, so that no crash and no reader ever finds a
//   pair
//                   that does not fit (etcd takes it as its certificate file and as its key file)
//   authority.crt   whom it trusts: the authority's certificate; two while one replaces the other
//   authority.pem   of managers: the authority's certificate and private key, in one file for the same reason
//   capsule.keys    the key ring
//   revoked.crl     who is trusted no more, for etcd
//
// node.pem is written last and removed first: without it the node is in no cluster, whatever else lies there. Each file
// is replaced atomically. Blocking: pool threads only. One writer at a time.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "pki/authority.h"
#include "pki/key_ring.h"

namespace perdure::pki {

struct NodeIdentity {
  std::string certificate;             // PEM, without the key
  std::string key;                     // PEM
  std::string authorities;             // PEM, one or more
  std::optional<Authority> authority;  // of a manager
  KeyRing ring;
  std::string revocations;  // PEM; empty: no list was ever made

  NodeIdentity() = default;
  NodeIdentity(NodeIdentity&&) noexcept = default;
  NodeIdentity& operator=(NodeIdentity&&) noexcept = default;
  ~NodeIdentity();  // wipes the key
};

class NodeFiles {
 public:
  explicit NodeFiles(std::string directory) : directory_(std::move(directory)) {}

  // kNotFound: this node is in no cluster. kCorrupt: a file of one that is, named, is damaged or missing.
  Result<NodeIdentity> read() const;

  // All of a node that begins or joins a cluster. What an earlier membership left is removed first.
  Status write(const NodeIdentity& identity) const;

  // Single files, of a node in a cluster. kInvalid: what read() would refuse; the file stays as it was.
  Status write_certificate(const std::string& certificate_pem, const std::string& key_pem) const;
  Status write_authorities(const std::string& certificates_pem) const;
  Status write_authority(const Authority& authority) const;  // becomes a manager
  Status remove_authority() const;                           // is none any more; none is a success
  Status write_ring(const KeyRing& ring) const;
  Status write_revocations(const std::string& list_pem) const;

  // Of a node that leaves. Nothing there is a success; the directory stays.
  Status remove_all() const;
  // What a crash left half written; it may hold keys. At start, before anything is written.
  Status remove_left_over() const;

  // For etcd's command line.
  std::string certificate_path() const;  // holds the key as well
  std::string authorities_path() const;
  std::string revocations_path() const;

 private:
  std::string path_of(std::string_view name) const;
  Status write_file(std::string_view name, std::string_view text) const;
  Status remove_files(std::span<const std::string_view> names) const;

  std::string directory_;
};

}  // namespace perdure::pki
