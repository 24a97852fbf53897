#include "pki/node_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <format>
#include <utility>

#include "base/fd.h"
#include "io/atomic_file.h"
#include "pki/crypto.h"
#include "pki/x509.h"

namespace perdure::pki {
namespace {

constexpr std::string_view kCertificateFile = "node.pem";
constexpr std::string_view kAuthoritiesFile = "authority.crt";
constexpr std::string_view kAuthorityFile = "authority.pem";
constexpr std::string_view kRingFile = "capsule.keys";
constexpr std::string_view kRevocationsFile = "revoked.crl";
constexpr std::string_view kBeginCertificate = "-----BEGIN CERTIFICATE-----";
constexpr std::string_view kBeginKey = "-----BEGIN PRIVATE KEY-----";
constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kFileMode = 0600;

// Wiped when it goes.
struct SecretText {
  std::string text;
  explicit SecretText(std::string value) : text(std::move(value)) {}
  SecretText(const SecretText&) = delete;
  SecretText& operator=(const SecretText&) = delete;
  SecretText(SecretText&&) noexcept = default;
  ~SecretText() { wipe(text); }
};

SecretText joined_pair(const std::string& certificate_pem, const std::string& key_pem) {
  std::string text;
  text.reserve(certificate_pem.size() + key_pem.size() + 1);  // never moved: see KeyRing::to_text()
  text += certificate_pem;
  if (!text.ends_with('\n')) text += '\n';
  text += key_pem;
  return SecretText(std::move(text));
}

struct Pair {
  std::string certificate;
  SecretText key;
};
Result<Pair> split_pair(const std::string& text) {
  const std::size_t key = text.find(kBeginKey);
  if (key == std::string::npos)
    return fail(ErrorCode::kInvalid, "there is no private key (PKCS #8) behind the certificate");
  Pair pair{text.substr(0, key), SecretText(text.substr(key))};
  PERDURE_TRY(check_key_pair(pair.certificate, pair.key.text));
  return pair;
}

// Each certificate is an authority's.
Status check_authorities(const std::string& pem) {
  std::size_t at = pem.find(kBeginCertificate);
  if (at == std::string::npos) return fail(ErrorCode::kInvalid, "there is no certificate in it");
  for (; at != std::string::npos; at = pem.find(kBeginCertificate, at + 1)) {
    PERDURE_ASSIGN(const CertificateInfo info, read_certificate(pem.substr(at)));
    if (!info.is_authority)
      return fail(ErrorCode::kInvalid, std::format("the certificate of '{}' is no authority's", info.name));
  }
  return {};
}

// kNotFound, kCorrupt, or what the operating system says.
Result<SecretText> read_text(const std::string& path) {
  auto text = read_file(path, kMaxRevocationListBytes);
  if (text) return SecretText(std::move(*text));
  if (text.error().code() != ErrorCode::kInvalid) return fail(std::move(text).error());
  return fail(ErrorCode::kCorrupt, text.error().message());
}

Error damaged(const std::string& path, const Error& reason) {
  return Error(ErrorCode::kCorrupt,
               std::format("'{}' is damaged: {}; restore it, or remove this node from its cluster and join "
                           "it again",
                           path, reason.message()));
}

// Of a node that is in a cluster.
Result<SecretText> read_required(const std::string& path) {
  auto text = read_text(path);
  if (!text && text.error().code() == ErrorCode::kNotFound)
    return fail(damaged(path, Error(ErrorCode::kNotFound, "it is missing")));
  return text;
}
Result<SecretText> read_optional(const std::string& path) {
  auto text = read_text(path);
  if (!text && text.error().code() == ErrorCode::kNotFound) return SecretText(std::string());
  return text;
}

}  // namespace

NodeIdentity::~NodeIdentity() {
  wipe(key);
}

std::string NodeFiles::path_of(std::string_view name) const {
  return std::format("{}/{}", directory_, name);
}
std::string NodeFiles::certificate_path() const {
  return path_of(kCertificateFile);
}
std::string NodeFiles::authorities_path() const {
  return path_of(kAuthoritiesFile);
}
std::string NodeFiles::revocations_path() const {
  return path_of(kRevocationsFile);
}

Result<NodeIdentity> NodeFiles::read() const {
  NodeIdentity identity;
  auto own = read_text(certificate_path());
  if (!own && own.error().code() == ErrorCode::kNotFound) {
    return fail(ErrorCode::kNotFound, std::format("this node is in no cluster: there is no '{}'", certificate_path()));
  }
  if (!own) return fail(std::move(own).error());
  auto pair = split_pair(own->text);
  if (!pair) return fail(damaged(certificate_path(), pair.error()));
  identity.certificate = std::move(pair->certificate);
  identity.key = std::move(pair->key.text);

  PERDURE_ASSIGN(const SecretText authorities, read_required(authorities_path()));
  if (const Status good = check_authorities(authorities.text); !good)
    return fail(damaged(authorities_path(), good.error()));
  identity.authorities = authorities.text;

  PERDURE_ASSIGN(const SecretText ring_text, read_required(path_of(kRingFile)));
  auto ring = KeyRing::from_text(ring_text.text);
  if (!ring) return fail(damaged(path_of(kRingFile), ring.error()));
  identity.ring = *ring;

  PERDURE_ASSIGN(const SecretText signer, read_optional(path_of(kAuthorityFile)));
  if (!signer.text.empty()) {
    auto halves = split_pair(signer.text);
    auto authority = halves ? Authority::load(halves->certificate, halves->key.text) : fail(halves.error());
    if (!authority) return fail(damaged(path_of(kAuthorityFile), authority.error()));
    identity.authority = std::move(*authority);
  }
  PERDURE_ASSIGN(const SecretText list, read_optional(revocations_path()));
  if (!list.text.empty()) {
    if (const auto good = read_revocation_list(list.text); !good)
      return fail(damaged(revocations_path(), good.error()));
    identity.revocations = list.text;
  }
  return identity;
}

Status NodeFiles::write(const NodeIdentity& identity) const {
  // Before anything goes.
  PERDURE_TRY(split_pair(joined_pair(identity.certificate, identity.key).text));
  PERDURE_TRY(check_authorities(identity.authorities));
  if (!identity.revocations.empty()) PERDURE_TRY(read_revocation_list(identity.revocations));
  PERDURE_TRY(io::make_directories(directory_, kDirectoryMode));
  if (::chmod(directory_.c_str(), kDirectoryMode) != 0) return fail_errno(std::format("set mode of '{}'", directory_));
  PERDURE_TRY(remove_all());
  PERDURE_TRY(write_authorities(identity.authorities));
  if (identity.authority) PERDURE_TRY(write_authority(*identity.authority));
  PERDURE_TRY(write_ring(identity.ring));
  if (!identity.revocations.empty()) PERDURE_TRY(write_revocations(identity.revocations));
  return write_certificate(identity.certificate, identity.key);
}

Status NodeFiles::write_file(std::string_view name, std::string_view text) const {
  return io::write_file_atomically(path_of(name), text, kFileMode);
}

Status NodeFiles::write_certificate(const std::string& certificate_pem, const std::string& key_pem) const {
  const SecretText text = joined_pair(certificate_pem, key_pem);
  PERDURE_TRY(split_pair(text.text));
  return write_file(kCertificateFile, text.text);
}

Status NodeFiles::write_authorities(const std::string& certificates_pem) const {
  PERDURE_TRY(check_authorities(certificates_pem));
  return write_file(kAuthoritiesFile, certificates_pem);
}

Status NodeFiles::write_authority(const Authority& authority) const {
  const SecretText text = joined_pair(authority.certificate(), authority.private_key());
  PERDURE_TRY(split_pair(text.text));
  return write_file(kAuthorityFile, text.text);
}

Status NodeFiles::write_ring(const KeyRing& ring) const {
  return write_file(kRingFile, SecretText(ring.to_text()).text);
}

Status NodeFiles::write_revocations(const std::string& list_pem) const {
  PERDURE_TRY(read_revocation_list(list_pem));
  return write_file(kRevocationsFile, list_pem);
}

Status NodeFiles::remove_files(std::span<const std::string_view> names) const {
  for (const std::string_view name : names) {
    const std::string path = path_of(name);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(std::format("remove '{}'", path));
  }
  Status synced = io::sync_directory(directory_);
  if (!synced && synced.error().code() == ErrorCode::kNotFound) return {};  // nor a directory
  return synced;
}

Status NodeFiles::remove_authority() const {
  return remove_files(std::array{kAuthorityFile});
}

Status NodeFiles::remove_all() const {
  PERDURE_TRY(remove_files(std::array{kCertificateFile}));
  PERDURE_TRY(remove_left_over());
  return remove_files(std::array{kAuthorityFile, kRingFile, kAuthoritiesFile, kRevocationsFile});
}

Status NodeFiles::remove_left_over() const {
  return io::remove_temporary_files(directory_);
}

}  // namespace perdure::pki
