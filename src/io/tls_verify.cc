// The judgement on a peer's certificate: one authority, our clock, and reasons a person can act on.
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <format>

#include "io/tls_context.h"

namespace perdure::io {

namespace {

constexpr std::size_t kMaxCommonNameBytes = 128;

std::string hexadecimal(std::span<const unsigned char> bytes) {
  std::string text;
  for (const unsigned char byte : bytes) text += std::format("{:02x}", byte);
  return text;
}

std::string name_entry(const X509_NAME* name, int nid) {
  const int at = X509_NAME_get_index_by_NID(name, nid, -1);
  if (at < 0) return {};
  unsigned char* bytes = nullptr;
  const int size = ASN1_STRING_to_UTF8(&bytes, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  if (size < 0) return {};
  std::string text(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return printable(text, kMaxCommonNameBytes);
}

std::string serial_of(const X509* certificate) {
  const OpensslOwned<BIGNUM> number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  if (!number) return {};
  std::vector<unsigned char> bytes(std::max<std::size_t>(static_cast<std::size_t>(BN_num_bytes(number.get())), 1));
  BN_bn2bin(number.get(), bytes.data());
  return hexadecimal(bytes);
}

void fill_in(TlsPeer& peer, const X509* certificate) {
  const X509_NAME* const name = X509_get_subject_name(certificate);
  peer.name = name_entry(name, NID_commonName);
  peer.organisation = name_entry(name, NID_organizationName);
  peer.serial = serial_of(certificate);
}

std::string time_text(WallTime time) {
  return std::format("{:%FT%T}Z", std::chrono::floor<std::chrono::seconds>(time));
}

std::optional<WallTime> to_wall(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return std::nullopt;
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::string distance_text(WallTime one, WallTime other) {
  std::string text = format_duration(one < other ? other - one : one - other);
  if (text.ends_with(" 0 min")) text.resize(text.size() - 6);
  return text;
}

// `whose`: "the certificate of node 'b' (192.0.2.2:7400)"
std::string time_refusal(const std::string& whose, const X509* certificate, bool expired, WallTime now) {
  const auto bound = to_wall(expired ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate));
  if (!bound) return whose + " has a date that is none";
  const std::string apart = std::format("our clock says {} ({} apart)", time_text(now), distance_text(*bound, now));
  if (expired) {
    return std::format("{} expired at {}, {}: have it renewed, or set the clocks right", whose, time_text(*bound),
                       apart);
  }
  return std::format("{} is not valid before {}, {}: set the clocks right", whose, time_text(*bound), apart);
}

Error refusal_for(X509_STORE_CTX* chain, const TlsPeer& peer, WallTime now) {
  const int error = X509_STORE_CTX_get_error(chain);
  const X509* const current = X509_STORE_CTX_get_current_cert(chain);
  std::string whose = "the certificate of " + describe(peer);
  if (current != nullptr && X509_STORE_CTX_get_error_depth(chain) > 0) {
    whose = std::format("the certificate of the authority of {}", describe(peer));
  }
  switch (error) {
    case X509_V_ERR_CERT_NOT_YET_VALID:
      // RFC 8446, 6.2: this alert is for "not currently valid", too; OpenSSL would say "bad certificate".
      X509_STORE_CTX_set_error(chain, X509_V_ERR_CERT_HAS_EXPIRED);
      return Error(ErrorCode::kPermission, time_refusal(whose, current, false, now));
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return Error(ErrorCode::kPermission, time_refusal(whose, current, true, now));
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      // For a signature that fails OpenSSL would say "decrypt error"; a peer must know that it is the authority.
      X509_STORE_CTX_set_error(chain, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
      return Error(ErrorCode::kPermission,
                   std::format("the certificate of {} is not signed by our cluster's authority: does it belong to "
                               "another cluster?",
                               describe(peer)));
    default:
      return Error(ErrorCode::kPermission, std::format("{}: {}", whose, X509_verify_cert_error_string(error)));
  }
}

// The certificate with the fingerprint among those that the peer shows; it stays theirs.
X509* find_shown(X509_STORE_CTX* chain, const std::string& fingerprint) {
  STACK_OF(X509)* const shown = X509_STORE_CTX_get0_untrusted(chain);
  for (int i = 0; i < sk_X509_num(shown); ++i) {
    X509* const certificate = sk_X509_value(shown, i);
    if (fingerprint_of(certificate) == fingerprint) return certificate;
  }
  return nullptr;
}

}  // namespace

int judge_certificate(X509_STORE_CTX* chain, void* context_pointer) {
  const auto& context = *static_cast<const TlsContextImpl*>(context_pointer);
  const auto* const ssl =
      static_cast<const SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& judgement = *static_cast<TlsJudgement*>(SSL_get_app_data(ssl));
  fill_in(judgement.peer, X509_STORE_CTX_get0_cert(chain));

  const OpensslOwned<STACK_OF(X509)> trusted(sk_X509_new_null());
  const std::string& fingerprint = context.options().authority_fingerprint;
  if (!fingerprint.empty()) {
    X509* const authority = find_shown(chain, fingerprint);
    if (authority == nullptr || sk_X509_push(trusted.get(), authority) == 0) {
      judgement.refusal.emplace(
          ErrorCode::kPermission,
          std::format(
              "{} does not show the authority with fingerprint {}: is it of the cluster that the token is for?",
              describe(judgement.peer), fingerprint));
      X509_STORE_CTX_set_error(chain, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
      return 0;
    }
    X509_STORE_CTX_set0_trusted_stack(chain, trusted.get());
  }
  const WallTime now = context.wall();
  X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(chain), std::chrono::system_clock::to_time_t(now));
  if (X509_verify_cert(chain) == 1) return 1;
  judgement.refusal = refusal_for(chain, judgement.peer, now);
  return 0;
}

std::string describe(const TlsPeer& peer) {
  return peer.name.empty() ? std::format("the peer at {}", peer.address)
                           : std::format("node '{}' ({})", peer.name, peer.address);
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string result(text.substr(0, max_bytes));
  std::ranges::replace_if(result, [](char c) { return c < ' ' || c > '~'; }, '?');
  return result;
}

std::string fingerprint_of(const X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) return {};
  return hexadecimal(std::span(digest).first(size));
}

}  // namespace perdure::io
